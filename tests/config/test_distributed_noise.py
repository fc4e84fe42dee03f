"""Noise that participants add: what the configuration makes of it, and what does not go with it."""

from __future__ import annotations

from typing import Any

import pytest

from foedus.config.distributed import facts_of, most_in_a_sum, others_of, packing_of
from foedus.config.loading import load_config
from foedus.config.privacy import participant_plan
from foedus.config.problems import problems
from foedus.config.sections import All, Cyclic, Fixed, ParticipantPrivacy, RunConfig
from foedus.config.secure_sums import agreed_sums
from foedus.core.errors import ConfigError, SecureSumError
from foedus.core.seeds import SeedKey
from foedus.privacy.plan import DistributedPlan
from foedus.privacy.secure_sum.terms import Rules
from foedus.strategies.fedavg import fedavg

SMALL: dict[str, Any] = {
    "task": {"kind": "text_classification", "text": "t", "label": "l", "labels": ["a", "b"]},
    "model": {"path": "m"},
    "participants": {"train": "*.csv"},
    "secure_sum": {"kind": "masks", "min_cohort": 30},
    "privacy": {
        "kind": "participants",
        "noise_multiplier": 2.0,
        "clip": {"kind": "fixed", "norm": 0.5},
        "mechanism": {"kind": "distributed"},
    },
}


def privacy(**values: Any) -> dict[str, Any]:
    return {**SMALL["privacy"], **values}


def found(**values: Any) -> list[str]:
    return problems(load_config(SMALL | values))


def test_a_round_stands_with_one_report_and_nothing_else_needs_to_be_said() -> None:
    config = load_config(SMALL)
    assert problems(config) == []
    assert config.rounds.min_reports == 1
    assert config.strategy.weighting == "uniform"
    assert not config.evaluation.per_site


@pytest.mark.parametrize(
    ("values", "begin"),
    [
        ({"secure_sum": "none"}, "secure_sum: is none, but privacy.mechanism distributed gives each upload a share"),
        ({"secure_sum": "ckks"}, "secure_sum: is ckks, but privacy.mechanism distributed gives each upload a share"),
        (
            {"privacy": privacy(clip="adaptive")},
            "privacy.clip: adaptive does not go with privacy.mechanism",
        ),
        ({"rounds": {"cohort": {"kind": "poisson", "rate": 0.5}}}, "rounds.cohort: is poisson; with"),
        ({"rounds": {"min_reports": 0}}, "rounds.min_reports: is 0, but with privacy.mechanism distributed"),
        ({"strategy": {"kind": "fedavg", "weighting": "examples"}}, "strategy.weighting: is examples, an exact count"),
        ({"compression": "int8"}, "compression: int8 changes how long an upload is"),
        ({"rounds": {"joins": {"a": 2}}}, "rounds.joins: noise and cohorts are planned for the same participants"),
        ({"privacy": privacy(epsilon=8)}, "privacy: both of epsilon and noise_multiplier are given"),
    ],
)
def test_what_does_not_go_with_it_is_a_problem_with_its_reason(values: dict[str, Any], begin: str) -> None:
    assert [problem for problem in found(**values) if problem.startswith(begin)]


@pytest.mark.parametrize("bits", [7, 17])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError, match="bits"):
        load_config(SMALL | {"privacy": privacy(mechanism={"kind": "distributed", "bits": bits})})


def plan(population: int = 40, length: int = 1000, **values: Any) -> DistributedPlan:
    config = load_config(SMALL | values)
    assert isinstance(config.privacy, ParticipantPrivacy)
    made = participant_plan(config, config.privacy, population, lambda: length)
    assert isinstance(made, DistributedPlan)
    return made


def test_noise_is_reckoned_for_the_fewest_that_a_sum_may_hold_less_colluders() -> None:
    made = plan()
    assert (made.cohort, made.survivors, made.colluders, made.honest) == (40, 30, 1, 29)
    assert plan(secure_sum={"kind": "masks", "min_cohort": 30, "threshold": 35}).survivors == 35
    more = plan(privacy=privacy(mechanism={"kind": "distributed", "colluders": 6}))
    assert more.honest == 24
    assert more.sum_multiplier == pytest.approx(2.0 * (40 / 24) ** 0.5)


def test_the_cohort_decides_on_the_most_in_a_sum_and_on_how_often_somebody_is_in_one() -> None:
    assert [most_in_a_sum(cohort, 50) for cohort in (All(), Fixed(size=12), Cyclic(separation=4))] == [50, 12, 13]
    turns = plan(population=160, rounds={"count": 12, "cohort": {"kind": "cyclic", "separation": 4}})
    assert (turns.cohort, turns.uses(12)) == (40, 3)
    drawn = plan(population=160, rounds={"count": 12, "cohort": {"kind": "fixed", "size": 40}})
    assert (drawn.cohort, drawn.uses(12)) == (40, 12)


@pytest.mark.parametrize(
    ("population", "values", "message"),
    [
        (40, {"secure_sum": {"kind": "masks", "min_cohort": 41}}, "no sum would stand"),
        (70, {"secure_sum": {"kind": "masks", "min_cohort": 60, "threshold": 69}}, "no sum would stand"),
        (
            40,
            {"privacy": privacy(mechanism={"kind": "distributed", "colluders": 20})},
            "colluders is 20, but with 40 participants in a sum masks are safe against",
        ),
        (40, {"privacy": privacy(noise_multiplier=1e-4)}, "steps of a grid of 16 bits, which hides nothing"),
    ],
)
def test_plans_that_masks_cannot_keep_are_refused(population: int, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(population, **values)


def test_participants_refuse_rules_under_which_a_smaller_sum_may_be_opened() -> None:
    rotations = SeedKey.from_seed(0)
    packing_of(plan(), 10, rotations, Rules(min_cohort=30))
    with pytest.raises(SecureSumError, match="a sum of 3 participants may be opened"):
        packing_of(plan(), 10, rotations, Rules())


def test_sums_to_which_nobody_would_add_noise_are_refused() -> None:
    with pytest.raises(ConfigError, match="summed without the noise of their participants"):
        agreed_sums(load_config(SMALL), fedavg(), 8, identities={}, statistics_like={})


def test_the_promise_names_what_it_rests_on() -> None:
    facts, limits = facts_of(plan(), 10)
    assert facts["participants in a sum"] == "30 to 40"
    assert facts["noise multiplier"] == "2.000, of 29 participants' noise"
    assert any("29 participants in each sum whose noise nobody else knows" in limit for limit in limits)


def test_its_defaults_are_written_out() -> None:
    config: RunConfig = load_config(SMALL)
    assert config.privacy.mechanism.model_dump() == {  # type: ignore[union-attr]
        "kind": "distributed",
        "distribution": "discrete_gaussian",
        "bits": 16,
        "colluders": 1,
    }


def test_with_no_colluders_nothing_is_promised_against_participants_who_know_their_own_noise() -> None:
    alone = plan(privacy=privacy(mechanism={"kind": "distributed", "colluders": 0}))
    assert "but for other participants" in others_of(alone)
    assert "any one participant" in others_of(plan())
