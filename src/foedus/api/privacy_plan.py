"""What a run would cost in privacy, found out without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foedus.api.run import ConfigLike, as_config
from foedus.config import sections
from foedus.config.assemble import assemble
from foedus.config.guarantee import guarantee, spent_by_round
from foedus.config.problems import refuse_problems
from foedus.core.errors import ConfigError, DataError
from foedus.privacy import accounting
from foedus.privacy.advice import cost_table, useful_advice
from foedus.privacy.plan import DistributedPlan, Plan, RecordPlan, charges


@dataclass(frozen=True)
class Cost:
    """What a plan costs those whose data, or whose part, it hides.

    units: how many records, blocks or participants there are. batch: how many of them a use expects.
    uses: steps, or rounds, in the whole run. budget: what the ledger adds it up under.
    """

    unit: str
    units: int
    batch: float
    uses: int
    noise_multiplier: float
    epsilon: float
    delta: float
    budget: str


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


def plan_privacy(config: ConfigLike, *, overrides: Sequence[str] = ()) -> PrivacyPlan:
    """Return what a run would spend of privacy, and what other numbers of rounds and other noise would.

    The data are read and the model is loaded; nothing is trained, and no ledger is touched.
    Raises: as foedus.run; ConfigError if the run has no differential privacy.
    """
    resolved = as_config(config, overrides)
    refuse_problems(resolved)
    privacy = resolved.privacy
    if isinstance(privacy, sections.NoPrivacy):
        raise ConfigError(
            "privacy: is none, so that there is nothing to plan; add privacy: {kind: records, epsilon: 8} to hide each "
            "record, or privacy: {kind: participants, …} to hide each of many participants"
        )
    assembly = assemble(resolved)
    plans, rounds = assembly.plans, resolved.rounds.count
    assert plans is not None, "only a run without privacy has none"
    payers: Mapping[str, Plan] = plans if isinstance(plans, Mapping) else {_payer(plans): plans}
    if not payers:
        raise DataError("privacy: no participant has training rows, so that there is nothing to plan")
    costs = {name: _cost(one, rounds, privacy.budget or _usual_budget(name, resolved)) for name, one in payers.items()}
    dearest = max(costs, key=lambda name: costs[name].epsilon)
    several = isinstance(privacy, sections.RecordPrivacy) and privacy.person_at == "several_participants"
    spent = spent_by_round(plans, rounds, composed=several)[rounds]
    shown = cost_table(payers[dearest], rounds)
    return PrivacyPlan(
        name=resolved.name,
        rounds=rounds,
        promise=guarantee(resolved, plans, spent, rounds),
        costs=costs,
        table={
            round(noise, 3): dict(zip(shown.rounds, row, strict=True))
            for noise, row in zip(shown.noise_multipliers, shown.epsilons, strict=True)
        },
        advice=useful_advice(payers[dearest], rounds, assembly.counts.sent),
    )


def _payer(plan: Plan) -> str:
    """Return in words whose ledger pays, where participants are hidden."""
    return "each participant" if isinstance(plan, DistributedPlan) else "the federation"


def _usual_budget(name: str, config: sections.RunConfig) -> str:
    match config.privacy:
        case sections.ParticipantPrivacy(mechanism=sections.Distributed()):
            return "its own"
        case sections.RecordPrivacy():
            return name
        case _:
            return config.name


def _cost(one: Plan, rounds: int, budget: str) -> Cost:
    by_unit = isinstance(one, RecordPlan | DistributedPlan)
    return Cost(
        unit=one.unit,
        units=one.records if isinstance(one, RecordPlan) else one.population,
        batch=one.expected_batch if isinstance(one, RecordPlan) else one.expected_cohort,
        uses=one.uses(rounds) if by_unit else rounds,
        noise_multiplier=one.noise_multiplier,
        epsilon=accounting.epsilon(charges(one, rounds), one.delta),
        delta=one.delta,
        budget=budget,
    )
