"""Before a run: what other rounds and other noise would cost, and whether anything can be learnt under the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from foedus.privacy import composition
from foedus.privacy.accounting import calibrate, epsilon
from foedus.privacy.clipping_rules import AdaptiveClip, FixedClip
from foedus.privacy.events import Event
from foedus.privacy.plan import CohortPlan, DistributedPlan, Plan, RecordPlan, StreamPlan, charges

# Trained numbers, where they are not known: a small head; more of them make the noise longer.
FEW_PARAMETERS = 10_000
# e^20: what one unit may change a probability by, says nothing any more.
MOST_MEANINGFUL = 20.0
WEAK = 8.0
# Noise that is this part of the way that updates can go leaves room to learn.
_BEARABLE = 0.1
# So much more noise than is counted says that distributed noise is reckoned for far smaller sums than there will be.
_WASTEFUL = 1.5


@dataclass(frozen=True)
class CostTable:
    """ε by noise multiplier and rounds. epsilons: a row for each noise multiplier, a column for each of `rounds`."""

    rounds: Sequence[int]
    noise_multipliers: Sequence[float]
    epsilons: Sequence[Sequence[float]]


def cost_table(
    plan: Plan, rounds: int, rounds_shown: Sequence[int] = (), noise_multipliers: Sequence[float] = ()
) -> CostTable:
    """Return ε of the plan for other numbers of rounds and other noise multipliers.

    Without rounds_shown: a quarter, half, all and twice the `rounds`; without noise_multipliers: from half to four
    times the plan's. For a stream, rounds are those after which it ends early, and no more than it was planned for.
    """
    columns = list(rounds_shown) or sorted({max(1, rounds // 4), max(1, rounds // 2), rounds, 2 * rounds})
    if isinstance(plan, StreamPlan):
        columns = sorted({min(column, plan.rounds) for column in columns})
    rows = list(noise_multipliers) or [factor * plan.noise_multiplier for factor in (0.5, 0.75, 1.0, 1.5, 2.0, 4.0)]
    return CostTable(columns, rows, [_row(plan, columns, row / plan.noise_multiplier) for row in rows])


def _row(plan: Plan, columns: Sequence[int], louder: float) -> list[float]:
    # events, not plans, of that noise: adaptive clipping may not allow it, and the figure is of interest anyway
    def event(rounds: int) -> Event:
        quieter = plan.event(rounds)
        return replace(quieter, noise_multiplier=quieter.noise_multiplier * louder)

    if isinstance(plan, StreamPlan):
        return [epsilon([(event(column), 1)], plan.delta) for column in columns]
    return composition.epsilons([], event(1), [plan.uses(column) for column in columns], plan.delta)


def noise_to_signal(plan: Plan, rounds: int, parameters: int) -> float:
    """Return the length of all noise added up over a run, over the longest way that clipped updates could go.

    The longest way is that of updates of full norm that all point in the same direction; real ones go less far.
    parameters: how many numbers are trained.
    """
    match plan:
        case RecordPlan():
            steps = plan.uses(rounds)
            spread = plan.noise_multiplier * math.sqrt(steps)
            divisor = plan.expected_batch
        case CohortPlan():
            steps = rounds
            spread = plan.update_multiplier * math.sqrt(steps)
            divisor = plan.expected_cohort
        case StreamPlan():
            steps = min(rounds, plan.rounds)
            in_the_sum = np.cumsum(plan.factor.inverse_column(steps))
            spread = plan.independent_stddev / plan.clip.norm * float(np.linalg.norm(in_the_sum))
            divisor = plan.expected_cohort
        case DistributedPlan():
            steps = rounds
            spread = plan.sum_multiplier * math.sqrt(steps)
            divisor = plan.expected_cohort
    return spread * math.sqrt(parameters) / (divisor * steps)


def useful_advice(plan: Plan, rounds: int, parameters: int = FEW_PARAMETERS) -> str | None:
    """Return in words why the plan protects hardly anybody, or why nothing can be learnt under it; or None.

    The first is an ε above MOST_MEANINGFUL. The second is looked at on the level of participants: the noise of the
    whole run is longer than the way that all clipped updates together could go. Before both it is said if distributed
    noise is reckoned for sums far smaller than a full one.
    """
    cost = epsilon(charges(plan, rounds), plan.delta)
    if isinstance(plan, DistributedPlan) and plan.sum_multiplier > _WASTEFUL * plan.noise_multiplier:
        return (
            f"The noise is reckoned for sums of {plan.survivors}, less {plan.colluders} who may collude, and a full "
            f"sum of {plan.cohort} has {plan.sum_multiplier / plan.noise_multiplier:.2g} times as much. Raise "
            "secure_sum.min_cohort to the fewest that you expect to stay in a round."
        )
    if cost <= MOST_MEANINGFUL:
        return None if isinstance(plan, RecordPlan) else _drowned(plan, rounds, parameters, cost)
    better = calibrate(WEAK, rounds, lambda noise: _louder(plan, noise))
    return (
        f"Epsilon {cost:.3g} (delta {plan.delta:g}, {rounds} rounds) protects hardly anybody; "
        f"epsilon {WEAK:g} takes a noise multiplier of {better.noise_multiplier:.4g}, "
        f"and {plan.noise_multiplier:.4g} is given. "
        + (useful_advice(better, rounds, parameters) or f"Use epsilon: {WEAK:g} or less, or fewer rounds.")
    )


def _louder(plan: Plan, noise_multiplier: float) -> Plan:
    if isinstance(plan, CohortPlan) and isinstance(plan.clip, AdaptiveClip):
        # the count of a small cohort may not allow that much noise, and it is only to be told
        return replace(plan, noise_multiplier=noise_multiplier, clip=FixedClip(plan.clip.initial_norm))
    return replace(plan, noise_multiplier=noise_multiplier)


def _drowned(plan: CohortPlan | StreamPlan | DistributedPlan, rounds: int, parameters: int, cost: float) -> str | None:
    ratio = noise_to_signal(plan, rounds, parameters)
    if ratio < 1:
        return None
    needed = math.ceil(plan.expected_cohort * ratio / _BEARABLE)
    return (
        f"Participant-level privacy with {plan.population} participants cannot be had at a useful epsilon: "
        f"epsilon {cost:.3g} (delta {plan.delta:g}) over {rounds} rounds takes a noise multiplier of "
        f"{plan.noise_multiplier:.3g}. On each coordinate of the mean of an expected "
        f"{plan.expected_cohort:.4g} updates that is noise of {plan.noise_multiplier / plan.expected_cohort:.2g} times "
        f"the clipping norm; over the run and {parameters:,} trained numbers, noise {ratio:.2g} times as long as the "
        f"way that all updates together could go. Protect single records instead (privacy.kind: records), "
        f"or find about {needed:,} participants for a round, train fewer numbers, or accept a larger epsilon."
    )
