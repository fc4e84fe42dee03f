"""From plans to figures: what a run costs, what it has cost after each round, and how much noise a budget needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from foedus.core.errors import ConfigError
from foedus.privacy import composition
from foedus.privacy.events import Charge, CorrelatedGaussian, Distributed, Event, Gaussian, merged, to_json, with_noise
from foedus.privacy.plan import Plan, StreamPlan, charges
from foedus.privacy.stored_results import stored_or_computed

AnyPlan = TypeVar("AnyPlan", bound=Plan)

# Rounds of which ε is computed; for those in between, the next one's stands, which is no less.
MOST_EXACT_ROUNDS = 250
# A calibrated plan costs at most its target, and at least this share of it.
LEAST_SHARE_OF_TARGET = 0.99
_AIM = 0.997
_MOST_NOISE = 1e6


def epsilon(events: Sequence[Charge], delta: float) -> float:
    """Return the ε at `delta` that all the events cost together, each as often as it says; never too little.

    For adding or removing one unit; the unit must be the same in all of them.
    Raises: ConfigError if delta is not in (0, 1) or a count is negative; MissingExtra without dp-accounting.
    """
    return composition.epsilon_of(merged(events), delta)


def epsilon_by_round(plan: Plan, rounds: int, spent: Sequence[Charge] = ()) -> list[float]:
    """Return the ε at the plan's δ after 0, 1, …, `rounds` rounds on top of what was spent. Length: rounds + 1.

    Up to MOST_EXACT_ROUNDS every figure is that of `epsilon`. Beyond it so many rounds are computed, evenly spread
    and the last among them; a round between them has the figure of the next one that was computed.
    Kept in the user's cache folder.
    """
    if rounds < 0:
        raise ConfigError(f"counting what privacy costs: {rounds} rounds; there are at least 0")
    before = merged(spent)
    points = _exact_rounds(rounds)
    inputs = {
        "figures": "epsilon_by_round",
        "library": _library_version(),
        "delta": plan.delta,
        "rounds": rounds,
        "points": len(points),
        "spent": [[to_json(event), count] for event, count in before],
        "plan": [[to_json(event), count] for event, count in charges(plan, rounds)],
    }
    figures = stored_or_computed(inputs, lambda: _figures(plan, points, before))
    by_point = dict(zip(points, figures, strict=True))
    table, following = [0.0] * (rounds + 1), math.inf
    for index in range(rounds, -1, -1):
        following = min(by_point.get(index, following), following)
        table[index] = following
    return table


def calibrate(
    epsilon: float, rounds: int, plan_of: Callable[[float], AnyPlan], spent: Sequence[Charge] = ()
) -> AnyPlan:
    """Return the plan with the least noise whose first `rounds` rounds, on top of what was spent, cost at most ε.

    plan_of: noise multiplier to plan; nothing else about the plan may depend on it.
    The plan costs at least LEAST_SHARE_OF_TARGET of ε. Kept in the user's cache folder.
    Raises: ConfigError if ε <= 0, if ε was already spent, or if no noise is enough.
    """
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise ConfigError(
            f"privacy.epsilon is {epsilon}; it is a finite number above 0, from about 1 (strong) to 8 (weak)"
        )
    before: tuple[Charge, ...] = merged(spent)
    sample: Plan = _any_plan(plan_of)
    wanted: tuple[Charge, ...] = charges(sample, rounds)
    if not wanted:
        raise ConfigError(f"privacy: the noise for {rounds} rounds was asked for; a run has at least 1")
    already = composition.epsilon_of(before, sample.delta)
    if already >= epsilon:
        raise ConfigError(
            f"privacy.epsilon is {epsilon}, and {already:.3f} of it is spent already at delta {sample.delta:g}; "
            "use a larger epsilon, or other data"
        )
    scale = next(event.noise_multiplier for event, _ in wanted) / sample.noise_multiplier
    inputs = {
        "figures": "calibrate",
        "library": _library_version(),
        "epsilon": epsilon,
        "delta": sample.delta,
        "spent": [[to_json(event), count] for event, count in before],
        "events": [[to_json(event), count] for event, count in with_noise(wanted, 1.0)],
        "scale": scale,
    }

    def cost(noise_multiplier: float) -> float:
        return composition.epsilon_of(merged([*before, *with_noise(wanted, noise_multiplier)]), sample.delta)

    def search() -> list[float]:
        found = _rounded_up(_least_noise(cost, epsilon) / scale)
        while cost(found * scale) > epsilon:  # the grid of losses is another one for each multiplier
            found = _rounded_up(found * 1.0005)
        return [found]

    plan = plan_of(stored_or_computed(inputs, search)[0])
    _check_same(plan, rounds, with_noise(wanted, 1.0))
    return plan


def without_amplification(event: Event) -> Event:
    """Return what one use costs a unit of which the observer knows that it took part.

    The coordinator sees its cohorts, and so does everyone on a roster; sampling protects nobody from them.
    """
    return event if isinstance(event, CorrelatedGaussian | Distributed) else Gaussian(event.noise_multiplier)


def epsilon_if_cohort_is_seen(plan: Plan, rounds: int, participations: int | None = None) -> float:
    """Return the ε of `rounds` rounds against those who see who takes part.

    participations: how often the unit took part at most; without it, in every step of every round.
    """
    seen = [
        (without_amplification(event), count if participations is None else min(count, participations))
        for event, count in charges(plan, rounds)
    ]
    return epsilon(seen, plan.delta)


@dataclass(frozen=True)
class Guarantee:
    """(ε, δ), for adding or removing one unit at each place where one person may have one."""

    epsilon: float
    delta: float


def federation_guarantee(
    sites: Mapping[str, tuple[Sequence[Charge], float]], person_at: Literal["one", "several"]
) -> Guarantee:
    """Return what holds for a person over a federation of which every site protects its own records.

    sites: by name, what was charged there and the site's δ.
    person_at: "one": each person's record lies at one site only, so the worst site stands for all; the δ is the
        largest of theirs. "several": a person may have a record at every site, so what all sites did composes; the
        δ is the smallest of theirs, which is under 1/n at each.
    """
    if not sites:
        return Guarantee(0.0, 0.0)
    if person_at == "one":
        return Guarantee(
            max(epsilon(events, delta) for events, delta in sites.values()), max(delta for _, delta in sites.values())
        )
    delta = min(delta for _, delta in sites.values())
    together = merged([charge for events, _ in sites.values() for charge in events])
    inputs = {
        "figures": "epsilon",
        "library": _library_version(),
        "delta": delta,
        "events": [[to_json(event), count] for event, count in together],
    }
    return Guarantee(stored_or_computed(inputs, lambda: [composition.epsilon_of(together, delta)])[0], delta)


def _figures(plan: Plan, points: Sequence[int], before: Sequence[Charge]) -> list[float]:
    """Return ε after each of so many rounds."""
    if isinstance(plan, StreamPlan):  # what was released so far is one mechanism, another one for each length
        return [composition.epsilon_of(merged([*before, *charges(plan, point)]), plan.delta) for point in points]
    return composition.epsilons(before, plan.event(), [plan.uses(point) for point in points], plan.delta)


def _exact_rounds(rounds: int) -> list[int]:
    """Return the rounds whose figures are computed: all, or evenly spread ones with the first and the last."""
    if rounds <= MOST_EXACT_ROUNDS:
        return list(range(rounds + 1))
    return sorted({round(i * rounds / MOST_EXACT_ROUNDS) for i in range(MOST_EXACT_ROUNDS + 1)} | {0, 1})


def _least_noise(cost: Callable[[float], float], target: float) -> float:
    """Return a noise multiplier of which cost is in [LEAST_SHARE_OF_TARGET, 1] of the target, or nearly so.

    Bracketed by doubling; then by straight lines through the bracket's ends in (log noise, log cost), in which
    the curve is nearly straight, and by halving where that stands still.
    """
    low, high = 0.5, 1.0
    low_cost, high_cost = cost(low), cost(high)
    while high_cost > target:
        low, low_cost = high, high_cost
        high *= 2
        if high > _MOST_NOISE:
            raise ConfigError(
                f"privacy.epsilon is {target}: no noise multiplier up to {_MOST_NOISE:g} is enough; "
                "use a larger epsilon, or fewer rounds"
            )
        high_cost = cost(high)
    while low_cost <= target:
        high, high_cost = low, low_cost
        low /= 2
        low_cost = cost(low)
    slow = 0
    while high_cost < LEAST_SHARE_OF_TARGET * target and high / low > 1 + 1e-6:
        middle = _on_the_line(low, low_cost, high, high_cost, _AIM * target) if slow < 2 else math.sqrt(low * high)
        figure = cost(middle)
        width = high / low
        if figure <= target:
            high, high_cost = middle, figure
        else:
            low, low_cost = middle, figure
        slow = slow + 1 if math.log(high / low) > math.log(width) / 2 else 0
    return high


def _on_the_line(low: float, low_cost: float, high: float, high_cost: float, aim: float) -> float:
    """Return where the line through both points has the cost `aim`, in logarithms, kept inside the bracket."""
    if high_cost <= 0 or not math.isfinite(low_cost):
        return math.sqrt(low * high)
    share = (math.log(low_cost) - math.log(aim)) / (math.log(low_cost) - math.log(high_cost))
    return low * math.exp(math.log(high / low) * min(max(share, 0.01), 0.99))


def _any_plan(plan_of: Callable[[float], AnyPlan]) -> AnyPlan:
    """Return the plan at some noise multiplier that is allowed: with adaptive clipping large ones are not."""
    return plan_of(0.01)


def _check_same(plan: Plan, rounds: int, expected: Sequence[Charge]) -> None:
    if tuple(with_noise(charges(plan, rounds), 1.0)) != tuple(expected):
        raise ConfigError("calibrating noise: plan_of returns plans that differ in more than their noise multiplier")


def _rounded_up(multiplier: float) -> float:
    """Return it with 4 digits, never less than it."""
    digits = 3 - math.floor(math.log10(multiplier))
    return math.ceil(multiplier * 10.0**digits) / 10.0**digits


def _library_version() -> str:
    from importlib.metadata import version

    composition.library()
    return version("dp-accounting")
