"""What a run would cost in privacy, found out without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foedus.api.run import ConfigLike, as_config
from foedus.config.assemble import assemble
from foedus.config.guarantee import guarantee
from foedus.config.privacy import Plans
from foedus.config.problems import refuse_problems
from foedus.core.errors import ConfigError
from foedus.federation.messages import ParticipantId
from foedus.privacy import accounting
from foedus.privacy.plan import RecordPlan, StreamPlan, charges

# How many times the rounds and the noise of the plan the table looks at.
ROUNDS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISE = (0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Cost:
    """What a plan costs those whose data, or whose part, it hides.

    units: how many records, blocks or participants there are. batch: how many of them a use expects.
    uses: steps, or rounds, in the whole run.
    """

    unit: str
    units: int
    batch: float
    uses: int
    noise_multiplier: float
    epsilon: float
    delta: float


@dataclass(frozen=True)
class PrivacyPlan:
    """What a run would spend, before anything is spent.

    promise: as in summary.json. costs: of each participant at record level; of the federation otherwise.
    table: epsilon by noise multiplier and then by rounds, for the participant that spends most.
    advice: what to do where the plan is of little use.
    """

    name: str
    rounds: int
    promise: Mapping[str, Any]
    costs: Mapping[str, Cost]
    table: Mapping[float, Mapping[int, float]]
    advice: str | None


def plan(config: ConfigLike, *, overrides: Sequence[str] = ()) -> PrivacyPlan:
    """Return what a run would spend of privacy, and what other numbers of rounds and other noise would.

    The data are read and the model is loaded; nothing is trained, and no ledger is touched.
    Raises: as foedus.run; ConfigError if the run has no differential privacy.
    """
    resolved = as_config(config, overrides)
    refuse_problems(resolved)
    plans = assemble(resolved).plans
    if plans is None:
        raise ConfigError(
            "privacy: is none, so that there is nothing to plan; add privacy: {kind: records, epsilon: 8} to hide each "
            "record, and see docs/differential_privacy.md"
        )
    rounds = resolved.rounds.count
    costs = {name: cost(one, rounds) for name, one in by_payer(plans).items()}
    dearest = max(costs, key=lambda name: costs[name].epsilon)
    return PrivacyPlan(
        name=resolved.name,
        rounds=rounds,
        promise=guarantee(resolved, plans, costs[dearest].epsilon, rounds),
        costs=costs,
        table=table(by_payer(plans)[dearest], rounds),
        advice=None,
    )


def by_payer(plans: Plans) -> Mapping[ParticipantId, Any]:
    """Return the plans by who spends by them: the participants, or the federation as a whole."""
    return plans if isinstance(plans, Mapping) else {"the federation": plans}


def cost(one: Any, rounds: int) -> Cost:
    """Return what a plan costs in so many rounds."""
    is_record = isinstance(one, RecordPlan)
    return Cost(
        unit=one.unit,
        units=one.records if is_record else one.population,
        batch=one.expected_batch if is_record else one.expected_cohort,
        uses=rounds * one.steps_per_round if is_record else rounds,
        noise_multiplier=one.noise_multiplier,
        epsilon=accounting.epsilon(charges(one, rounds), one.delta),
        delta=one.delta,
    )


def table(one: Any, rounds: int) -> Mapping[float, Mapping[int, float]]:
    """Return epsilon by noise multiplier and rounds, around those of the plan."""
    factors = [factor for factor in ROUNDS if factor <= 1 or not isinstance(one, StreamPlan)]
    counts = sorted({max(1, round(factor * rounds)) for factor in factors})
    others = [replace(one, noise_multiplier=round(factor * one.noise_multiplier, 3)) for factor in NOISE]
    return {
        other.noise_multiplier: {count: accounting.epsilon(charges(other, count), other.delta) for count in counts}
        for other in others
    }
