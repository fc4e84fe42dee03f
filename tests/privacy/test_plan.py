import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import ConfigError
from foedus.privacy.clipping_rules import AdaptiveClip, FixedClip, update_multiplier
from foedus.privacy.events import CorrelatedGaussian, Gaussian, PoissonGaussian, TruncatedPoissonGaussian
from foedus.privacy.factors import BandedSquareRoot
from foedus.privacy.plan import CohortPlan, Plan, RecordPlan, StreamPlan, charges, default_delta

RECORDS = RecordPlan("record", 1.1, 0.1, 0.01, 10, 1e-5, 20_000)
COHORT = CohortPlan(1.0, FixedClip(0.5), 1e-5, 1000, 0.05, 80)
STREAM = StreamPlan(1.4, FixedClip(0.5), 1e-4, 400, 20, 200, 20, 10, BandedSquareRoot(20))


def test_noise_divisor_and_event_of_records_come_from_the_same_fields() -> None:
    assert RECORDS.noise_stddev == pytest.approx(0.11)
    assert RECORDS.expected_batch == 200
    assert charges(RECORDS, 6) == ((PoissonGaussian(1.1, 0.01), 60),)


def test_noise_divisor_and_event_of_a_cohort_come_from_the_same_fields() -> None:
    assert COHORT.expected_cohort == 50
    assert COHORT.update_multiplier == 1.0
    assert COHORT.count_stddev == 0.0
    assert charges(COHORT, 200) == ((TruncatedPoissonGaussian(1.0, 0.05, 1000, 80), 200),)
    assert replace(COHORT, cap=None).event() == PoissonGaussian(1.0, 0.05)
    assert replace(COHORT, cap=None, rate=1).event() == Gaussian(1.0)
    assert replace(COHORT, cap=1000).event() == PoissonGaussian(1.0, 0.05)


def test_adaptive_clipping_pays_for_its_count() -> None:
    plan = replace(COHORT, clip=AdaptiveClip(), population=2000, cap=None)
    assert plan.count_stddev == 5
    assert plan.update_multiplier == pytest.approx(1.005038, abs=1e-6)
    assert plan.event() == replace(plan, clip=FixedClip(0.5)).event()


@given(st.floats(0.1, 10), st.floats(5.1, 1e4))
def test_updates_and_count_together_cost_the_combined_multiplier(combined: float, count_stddev: float) -> None:
    updates = update_multiplier(combined, count_stddev)
    assert updates**-2 + (2 * count_stddev) ** -2 == pytest.approx(combined**-2)


def test_a_cohort_too_small_for_its_count_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than 50 expected"):
        replace(COHORT, noise_multiplier=5.0, clip=AdaptiveClip())


def test_the_norm_falls_if_more_than_the_quantile_lie_within() -> None:
    clip = AdaptiveClip(quantile=0.5, learning_rate=0.2)
    assert clip.next_norm(0.1, 50.0, 100.0) == pytest.approx(0.1 * math.exp(-0.1))  # all within
    assert clip.next_norm(0.1, 0.0, 100.0) == pytest.approx(0.1)  # half of them
    assert clip.next_norm(0.1, -50.0, 100.0) == pytest.approx(0.1 * math.exp(0.1))  # none


def test_a_stream_is_charged_once() -> None:
    whole = CorrelatedGaussian(1.4, 200, 20, 10)
    assert charges(STREAM, 200) == ((whole, 1),)
    assert charges(STREAM, 0) == ()
    with pytest.raises(ConfigError, match="planned for 200 rounds"):
        charges(STREAM, 201)


def test_a_stream_that_ends_early_costs_less() -> None:
    multipliers = [STREAM.event(rounds).noise_multiplier for rounds in (1, 20, 21, 100, 200)]
    assert multipliers == sorted(multipliers, reverse=True)
    assert multipliers[-1] == 1.4


def test_the_default_delta_is_a_tenth_of_a_unit_rounded_down() -> None:
    assert default_delta(2000) == 5e-5
    assert default_delta(1234) == 8e-5
    assert default_delta(1) == 0.1
    assert default_delta(12_000_000) == 8e-9


@given(st.integers(1, 10**12))
def test_the_default_delta_is_always_allowed_and_never_far_below(units: int) -> None:
    assert 0.05 / units < default_delta(units) <= 0.1 / units


@pytest.mark.parametrize(
    ("plan", "change", "what"),
    [
        (RECORDS, {"delta": 1 / 20_000}, "1/20000"),
        (RECORDS, {"delta": 0.0}, "delta: auto"),
        (RECORDS, {"delta": math.nan}, "delta: auto"),
        (RECORDS, {"clip_norm": 0.0}, "clip_norm is 0.0"),
        (RECORDS, {"clip_norm": -1.0}, "clip_norm"),
        (RECORDS, {"clip_norm": math.inf}, "clip_norm"),
        (RECORDS, {"noise_multiplier": 0.0}, "Without noise nothing is protected"),
        (RECORDS, {"noise_multiplier": math.nan}, "noise_multiplier"),
        (RECORDS, {"sampling_rate": 0.0}, "sampling rate"),
        (RECORDS, {"sampling_rate": 1.5}, "30,000 of 20,000 records"),
        (RECORDS, {"steps_per_round": 0}, "steps_per_round"),
        (RECORDS, {"records": 0}, "records is 0"),
        (COHORT, {"cap": 60}, "at least 78"),
        (COHORT, {"cap": 0}, "at least 78"),
        (COHORT, {"rate": 1.1}, "more than there are"),
        (COHORT, {"delta": 0.001}, "1/1000"),
        (STREAM, {"cohort": 21}, "at most 20"),
        (STREAM, {"max_participations": 9}, "at most 18"),
        (STREAM, {"min_separation": 0}, "min_separation"),
    ],
)
def test_what_protects_nobody_or_cannot_be_done_is_refused_with_what_to_do(
    plan: Plan, change: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        replace(plan, **change)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_that_is_no_positive_number_is_refused(norm: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        FixedClip(norm)
    with pytest.raises(ConfigError, match="above 0"):
        AdaptiveClip(initial_norm=norm)


@pytest.mark.parametrize("change", [{"quantile": 0.0}, {"quantile": 1.0}, {"learning_rate": 0.0}, {"count_stddev": 0}])
def test_an_adaptive_clip_that_cannot_adapt_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="adaptive clipping"):
        AdaptiveClip(**change)
