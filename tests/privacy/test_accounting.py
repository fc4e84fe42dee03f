import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from foedus.core.errors import ConfigError
from foedus.privacy import accounting, composition
from foedus.privacy.accounting import (
    Guarantee,
    calibrate,
    epsilon,
    epsilon_by_round,
    epsilon_if_cohort_is_seen,
    federation_guarantee,
)
from foedus.privacy.clipping_rules import AdaptiveClip, FixedClip
from foedus.privacy.events import Charge, Gaussian, PoissonGaussian
from foedus.privacy.factors import BandedSquareRoot
from foedus.privacy.plan import CohortPlan, Plan, RecordPlan, StreamPlan, charges

RECORDS = RecordPlan("record", 1.0, 0.1, 256 / 50_000, 10, 1e-5, 50_000)
COHORT = CohortPlan(1.0, FixedClip(0.5), 1e-5, 1000, 0.05, 80)
STREAM = StreamPlan(2.0, FixedClip(0.5), 1e-4, 400, 20, 200, 20, 10, BandedSquareRoot(20))
Sites = dict[str, tuple[list[Charge], float]]
SPENT: list[Charge] = [(PoissonGaussian(2.0, 0.1), 5), (Gaussian(8.0), 2)]


@pytest.mark.parametrize("plan", [RECORDS, COHORT, STREAM])
@pytest.mark.parametrize("spent", [[], SPENT])
def test_the_table_holds_what_the_events_cost(plan: Plan, spent: list[Charge]) -> None:
    table = epsilon_by_round(plan, 8, spent)
    assert len(table) == 9
    assert table[0] == pytest.approx(epsilon(spent, plan.delta), rel=1e-3)
    for rounds in (1, 5):
        assert table[rounds] == pytest.approx(epsilon([*spent, *charges(plan, rounds)], plan.delta), rel=1e-3)
    assert table[8] == pytest.approx(epsilon([*spent, *charges(plan, 8)], plan.delta), rel=1e-9)
    assert table == sorted(table)


def test_what_was_spent_by_the_same_plan_continues_its_table() -> None:
    whole = epsilon_by_round(RECORDS, 8)
    resumed = epsilon_by_round(RECORDS, 5, charges(RECORDS, 3))
    assert resumed[-1] == pytest.approx(whole[-1], rel=1e-9)
    assert resumed == pytest.approx(whole[3:], rel=1e-6)


def test_long_tables_never_say_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = epsilon_by_round(COHORT, 23)
    monkeypatch.setattr(accounting, "MOST_EXACT_ROUNDS", 6)
    coarse = epsilon_by_round(COHORT, 23)
    assert len(coarse) == 24
    assert all(rough >= fine for rough, fine in zip(coarse, exact, strict=True))
    assert coarse[:2] + coarse[-1:] == exact[:2] + exact[-1:]
    assert len(set(coarse)) < len(set(exact))


def test_no_rounds_are_a_table_too() -> None:
    assert epsilon_by_round(RECORDS, 0) == [0.0]
    with pytest.raises(ConfigError, match="-1 rounds"):
        epsilon_by_round(RECORDS, -1)


def test_a_stream_has_no_table_beyond_its_end() -> None:
    with pytest.raises(ConfigError, match="planned for 200 rounds"):
        epsilon_by_round(STREAM, 201)


def test_a_table_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = epsilon_by_round(RECORDS, 4)
    with monkeypatch.context() as patched:
        patched.delattr(composition, "epsilons")
        assert epsilon_by_round(RECORDS, 4) == first
        for other in (replace(RECORDS, noise_multiplier=1.1), replace(RECORDS, delta=1e-6)):
            with pytest.raises(AttributeError):
                epsilon_by_round(other, 4)
        with pytest.raises(AttributeError):
            epsilon_by_round(RECORDS, 4, SPENT)


def records_of(n: int, batch: int, delta: float) -> Callable[[float], Plan]:
    return lambda z: RecordPlan("record", z, 0.1, batch / n, 1, delta, n)


def cohorts_of(n: int, cohort: int, delta: float) -> Callable[[float], Plan]:
    return lambda z: CohortPlan(z, FixedClip(1.0), delta, n, cohort / n)


@pytest.mark.parametrize(
    ("plan_of", "rounds", "target", "by_renyi"),
    [
        (records_of(2000, 128, 1e-4), 300, 8, 0.96),
        (records_of(10_000, 256, 1e-5), 500, 3, 1.17),
        (records_of(100_000, 1024, 1e-6), 1000, 8, 0.65),
        (cohorts_of(8, 8, 1e-2), 100, 1, 22.0),
        (cohorts_of(8, 8, 1e-2), 100, 3, 9.5),
        (cohorts_of(8, 8, 1e-2), 100, 8, 4.6),
        (cohorts_of(1000, 100, 1e-4), 200, 3, 2.1),
        (cohorts_of(100_000, 1000, 1e-6), 500, 1, 1.37),
    ],
)
def test_the_noise_is_the_least_and_under_that_by_renyi_divergence(
    plan_of: Callable[[float], Plan], rounds: int, target: float, by_renyi: float
) -> None:
    plan = calibrate(target, rounds, plan_of)
    assert 0.8 * by_renyi < plan.noise_multiplier < by_renyi
    assert 0.99 * target <= epsilon(charges(plan, rounds), plan.delta) <= target


@pytest.mark.parametrize(
    "plan_of",
    [
        lambda z: replace(STREAM, noise_multiplier=z),
        lambda z: replace(COHORT, noise_multiplier=z),
        lambda z: replace(COHORT, noise_multiplier=z, clip=AdaptiveClip(), rate=0.5, cap=None),
    ],
)
def test_every_kind_of_plan_can_be_calibrated_on_top_of_what_was_spent(plan_of: Callable[[float], Plan]) -> None:
    plan = calibrate(2.0, 50, plan_of, SPENT)
    total = epsilon([*SPENT, *charges(plan, 50)], plan.delta)
    assert 0.99 * 2 <= total <= 2
    assert calibrate(2.0, 50, plan_of).noise_multiplier < plan.noise_multiplier


@pytest.mark.parametrize("target", [0.01, 50.0])
def test_strict_and_lax_targets_are_kept_too(target: float) -> None:
    plan = calibrate(target, 100, cohorts_of(1000, 50, 1e-5))
    assert epsilon(charges(plan, 100), plan.delta) <= target


def test_a_calibration_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = calibrate(3.0, 100, cohorts_of(8, 8, 1e-2))
    monkeypatch.delattr(accounting, "_least_noise")
    assert calibrate(3.0, 100, cohorts_of(8, 8, 1e-2)) == first
    with pytest.raises(NameError):
        calibrate(3.0, 101, cohorts_of(8, 8, 1e-2))


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_an_epsilon_that_is_no_positive_number_is_refused(target: float) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.epsilon"):
        calibrate(target, 10, cohorts_of(8, 8, 1e-2))


def test_a_budget_that_is_spent_is_refused() -> None:
    with pytest.raises(ConfigError, match="spent already"):
        calibrate(1.0, 10, cohorts_of(100, 100, 1e-3), [(Gaussian(1.0), 10)])


def test_a_run_without_rounds_has_no_noise_to_compute() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        calibrate(1.0, 0, cohorts_of(100, 100, 1e-3))


def test_a_cohort_too_small_for_adaptive_clipping_is_refused_by_calibration() -> None:
    with pytest.raises(ConfigError, match="adaptive clipping"):
        calibrate(1.0, 100, lambda z: CohortPlan(z, AdaptiveClip(), 1e-2, 8, 1.0))


def test_plans_that_differ_in_more_than_noise_cannot_be_calibrated() -> None:
    with pytest.raises(ConfigError, match="differ in more"):
        calibrate(1.0, 10, lambda z: CohortPlan(z, FixedClip(1.0), 1e-3, 100, 0.5 if z < 0.1 else 0.4))


def test_one_person_at_one_site_is_as_safe_as_at_the_worst_site() -> None:
    sites: Sites = {"north": ([(Gaussian(5.0), 10)], 1e-5), "south": ([(PoissonGaussian(1.0, 0.01), 10)], 1e-4)}
    found = federation_guarantee(sites, "one")
    assert found == Guarantee(epsilon([(Gaussian(5.0), 10)], 1e-5), 1e-4)


def test_one_person_at_several_sites_pays_at_each() -> None:
    sites: Sites = {"north": ([(Gaussian(5.0), 10)], 1e-5), "south": ([(Gaussian(5.0), 30)], 1e-4)}
    assert federation_guarantee(sites, "several") == Guarantee(epsilon([(Gaussian(5.0), 40)], 1e-5), 1e-5)


def test_a_federation_without_sites_cost_nothing() -> None:
    assert federation_guarantee({}, "several") == Guarantee(0.0, 0.0)


def test_whoever_sees_the_cohort_sees_no_amplification() -> None:
    plan = replace(COHORT, cap=None)
    assert epsilon_if_cohort_is_seen(plan, 200) == pytest.approx(159.4, abs=0.05)
    assert epsilon_if_cohort_is_seen(plan, 200, participations=10) == pytest.approx(17.9, abs=0.05)
    assert epsilon_if_cohort_is_seen(STREAM, 200) == epsilon(charges(STREAM, 200), STREAM.delta)
