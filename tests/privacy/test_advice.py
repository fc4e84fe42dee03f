import math
from dataclasses import replace

import pytest

from foedus.privacy.accounting import calibrate, epsilon
from foedus.privacy.advice import cost_table, noise_to_signal, useful_advice
from foedus.privacy.clipping_rules import AdaptiveClip, FixedClip
from foedus.privacy.factors import BandedSquareRoot
from foedus.privacy.plan import CohortPlan, Plan, RecordPlan, StreamPlan, charges

SILOS = CohortPlan(18.81, FixedClip(1.0), 1e-2, 8, 1.0)
MANY = CohortPlan(1.255, FixedClip(1.0), 1e-6, 100_000, 0.01)
RECORDS = RecordPlan("record", 1.0, 0.1, 0.05, 10, 1e-5, 2000)
STREAM = StreamPlan(2.0, FixedClip(0.5), 1e-4, 400, 20, 200, 20, 10, BandedSquareRoot(20))


def test_few_silos_are_told_what_noise_it_takes_and_what_to_do_instead() -> None:
    advice = useful_advice(SILOS, 100)
    assert advice is not None
    for words in ("8 participants", "epsilon 0.998", "delta 0.01", "100 rounds", "18.8", "privacy.kind: records"):
        assert words in advice


def test_a_large_federation_needs_no_advice() -> None:
    assert useful_advice(MANY, 500) is None
    assert useful_advice(MANY, 500, parameters=1_000_000) is None


def test_more_trained_numbers_can_make_it_hopeless() -> None:
    assert useful_advice(STREAM, 200, parameters=10_000) is None
    assert "1,000,000 trained numbers" in str(useful_advice(STREAM, 200, parameters=1_000_000))


@pytest.mark.parametrize("plan", [replace(SILOS, noise_multiplier=0.3), replace(RECORDS, noise_multiplier=0.3)])
def test_too_little_noise_to_protect_anybody_is_named(plan: Plan) -> None:
    advice = str(useful_advice(plan, 100))
    assert "protects hardly anybody" in advice
    assert "0.3 is given" in advice


def test_too_little_noise_for_a_cohort_whose_count_allows_no_more_is_named_too() -> None:
    advice = str(useful_advice(replace(SILOS, noise_multiplier=0.3, clip=AdaptiveClip()), 100))
    assert "protects hardly anybody" in advice
    assert "privacy.kind: records" in advice


def test_sensible_privacy_of_records_needs_no_advice() -> None:
    assert useful_advice(calibrate(8.0, 5, lambda z: replace(RECORDS, noise_multiplier=z)), 5) is None


def test_independent_noise_grows_with_the_root_of_the_rounds_and_updates_with_the_rounds() -> None:
    by_hand = 18.81 * math.sqrt(100 * 10_000) / (8 * 100)
    assert noise_to_signal(SILOS, 100, 10_000) == pytest.approx(by_hand)
    stream = StreamPlan(18.81, FixedClip(1.0), 1e-2, 8, 8, 100, 1, 100, BandedSquareRoot(1))
    # a participant of all 100 rounds, in one Gaussian: ten times the noise of a round by itself
    assert noise_to_signal(stream, 100, 10_000) == pytest.approx(10 * by_hand)


def test_the_table_holds_the_epsilon_of_each_plan() -> None:
    table = cost_table(RECORDS, 20, rounds_shown=(5, 20), noise_multipliers=(0.8, 1.0))
    assert table.rounds == [5, 20]
    for multiplier, row in zip(table.noise_multipliers, table.epsilons, strict=True):
        other = replace(RECORDS, noise_multiplier=multiplier)
        assert row == pytest.approx([epsilon(charges(other, n), other.delta) for n in (5, 20)], rel=1e-3)


@pytest.mark.parametrize("plan", [RECORDS, SILOS, STREAM])
def test_tables_fall_with_noise_and_rise_with_rounds(plan: Plan) -> None:
    table = cost_table(plan, 200)
    assert all(list(row) == sorted(row) for row in table.epsilons)
    for quieter, louder in zip(table.epsilons, table.epsilons[1:], strict=False):
        assert all(less > more for less, more in zip(quieter, louder, strict=True))


def test_a_stream_has_no_column_beyond_its_end() -> None:
    assert cost_table(STREAM, 200).rounds == [50, 100, 200]
    assert cost_table(STREAM, 200).epsilons[2][-1] == epsilon(charges(STREAM, 200), STREAM.delta)


def test_the_table_of_a_small_cohort_with_adaptive_clipping_goes_beyond_what_its_count_allows() -> None:
    plan = CohortPlan(0.5, AdaptiveClip(), 1e-2, 8, 1.0)
    assert cost_table(plan, 100).noise_multipliers[-1] == 2.0
