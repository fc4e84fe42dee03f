"""The coordinator's half of a run: what it plays, over any engine, without a row of anybody's data."""

from __future__ import annotations

from dataclasses import replace

from foedus.config.build import build_plan, build_sampler
from foedus.config.private_run import PrivateRun
from foedus.config.side import Side
from foedus.core.entropy import KEY_BYTES, Entropy
from foedus.core.seeds import SeedKey
from foedus.federation.protocols import Algorithm, Engine
from foedus.federation.round import Federation
from foedus.federation.sampling import Sampler
from foedus.privacy.participant_level import cohorts, rounds_under_privacy
from foedus.privacy.plan import CohortPlan, StreamPlan
from foedus.privacy.secure_sum.embedding import SecureSums


def run_sampler(side: Side, hidden: CohortPlan | StreamPlan | None, entropy: Entropy) -> Sampler:
    """Return who chooses the cohorts. hidden: how participants are, if they are."""
    turns = side.key.child("turns")
    if hidden is not None:
        return cohorts(hidden, entropy, turns)
    return build_sampler(side.config.rounds.cohort, turns)


def plain_federation(side: Side, algorithm: Algorithm, engine: Engine, sampler: Sampler) -> Federation:
    """Return the run of an algorithm over an engine, its sums in the clear and nothing hidden."""
    compared = side.ground.compared
    return Federation(
        algorithm=algorithm,
        engine=engine,
        sampler=sampler,
        plan=replace(build_plan(side.config), compared=compared, evaluate_initially=not compared),
        seed=side.key,
        score=side.task.score,
    )


def coordinated(
    federation: Federation,
    hidden: CohortPlan | StreamPlan | None,
    secure: SecureSums | None,
    private: PrivateRun | None,
) -> Federation:
    """Return the same run with its sums made securely, and its rounds charged, if that is asked for.

    private: what a run with differential privacy needs; without it, such a federation is only to be looked at.
    """
    if secure is not None:
        federation = replace(
            federation,
            collect=secure.collect_updates,
            collect_evaluation=secure.collect_evaluations,
            collect_counts=secure.collect_counts,
        )
    plan = rounds_under_privacy(federation.plan) if hidden is not None else federation.plan
    if private is None:
        return replace(federation, plan=plan)
    # cohorts are drawn from the run's seed otherwise, which stands in the configuration
    seed = SeedKey(bytes(private.entropy.child("cohorts").draw(KEY_BYTES)))
    return replace(federation, plan=plan, guard=private.guard, seed=seed)
