"""What `secure_sum` leaves out of its grid: the range of values and the greatest weight, found before the first round.

Where records are hidden, the range follows from the settings alone, because a dry round would tell something of the
records that nobody counts. Otherwise a dry round finds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from foedus.config import sections
from foedus.config.side import Side
from foedus.core.errors import ConfigError
from foedus.core.trees import ParamTree
from foedus.federation.collect import drive
from foedus.federation.magnitudes import COUNTS, bounds_of
from foedus.federation.messages import Clock, DryRound, ParticipantId
from foedus.federation.protocols import ServerState
from foedus.federation.round import Federation
from foedus.privacy.plan import RecordPlan
from foedus.training.batches import steps_per_round
from foedus.training.reach import reach
from foedus.training.settings import LocalSettings, learning_rate_at

MARGIN = 4.0  # later rounds may go further than the dry one
_FURTHEST_NOISE = 6.7  # standard deviations; foedus.core.entropy draws none that lies further
_LARGEST_BATCH = 4.0  # times the expected one; a Poisson batch of 16 rows or more is larger once in 2^40
_GROWTH = 2.0  # of the largest weight over a run, for weight decay


def with_bounded_range(side: Side, plans: Mapping[ParticipantId, RecordPlan]) -> Side:
    """Return the side with the range of values that its settings bound, if it is left out; others as they are.

    Raises: ConfigError if nothing bounds it.
    """
    chosen = side.config.secure_sum
    if isinstance(chosen, sections.PlainSum) or chosen.value_range is not None:
        return side
    gradient = None
    if plans:
        gradient = max(
            plan.clip_norm * (_LARGEST_BATCH + _FURTHEST_NOISE * plan.noise_multiplier / plan.expected_batch)
            for plan in plans.values()
        )
    bound = bounded_range(side, gradient, max((plan.steps_per_round for plan in plans.values()), default=None))
    if bound is None:
        raise ConfigError(
            "secure_sum.value_range: is left out, and nothing bounds how far this strategy and optimizer move a "
            "parameter in a round; give it: a run with secure_sum: none on data of your own shows how far"
        )
    return with_range(side, bound, None)


def bounded_range(side: Side, largest_gradient: float | None, steps: int | None) -> float | None:
    """Return how far a parameter can move in a round, rounded up to three digits; None if nothing bounds it.

    largest_gradient: of a coordinate, for SGD; left out, gradients are clipped as the settings say. steps: in a round;
    left out, those that the settings give the largest participant.
    """
    config, settings = side.config, side.settings
    if isinstance(config.strategy, sections.Scaffold | sections.FedDyn | sections.Custom | sections.FedNova):
        return None  # what these send is no distance, or they add to the gradient what nothing bounds
    if largest_gradient is None:
        largest_gradient = settings.gradient_clip
    if steps is None:
        steps = steps_per_round(
            side.ground.weight_bound, settings.batch_size, settings.accumulation, settings.epochs, settings.steps
        )
    bound = reach(settings, steps, _longest_side(side.initial), _GROWTH * _largest(side.initial), largest_gradient)
    if bound is None:
        return None
    digits = 2 - math.floor(math.log10(bound))
    return math.ceil(bound * 10.0**digits) / 10.0**digits


def needs_dry_round(config: sections.RunConfig) -> bool:
    """Return whether the grid is not known before participants have trained once."""
    chosen = config.secure_sum
    if isinstance(chosen, sections.PlainSum) or not isinstance(config.privacy, sections.NoPrivacy):
        return False
    counts_tokens = config.strategy.weighting in ("tokens", "tokens_seen")
    return chosen.value_range is None or (counts_tokens and chosen.max_weight is None)


def play_dry_round(side: Side, federation: Federation, state: ServerState) -> Side:
    """Let a round's cohort train once, keep nothing, and tell in a secure sum how large values and weights are.

    It trains where the learning rate is highest. What was given stays.
    Raises: ConfigError if there is no sum.
    """
    plan, clock = federation.plan, Clock(_peak(side.settings, federation.plan.rounds), federation.plan.rounds)
    population = plan.present(federation.engine.population(), 1)
    cohort = federation.sampler.select(population, federation.seed.child("dry round"), 0)
    request = DryRound(federation.algorithm.message(state, clock))
    collected = drive(federation.collect_counts(cohort, request, COUNTS), federation.engine)
    if collected.reports == 0:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(collected.left_out.items())[:3])
        raise ConfigError(
            "secure_sum.value_range: is left out, and the dry round that would have found it came to nothing "
            f"({reasons}); mend that and begin anew with --overwrite, or give secure_sum.value_range and max_weight"
        )
    largest_value, largest_weight = bounds_of(collected.total)
    return with_range(side, MARGIN * largest_value, largest_weight)


def with_range(side: Side, value_range: float, max_weight: float | None) -> Side:
    """Return the side with these where its configuration leaves them out. max_weight: of tokens; None elsewhere."""
    chosen: Any = side.config.secure_sum
    found: dict[str, float] = {} if chosen.value_range is not None else {"value_range": value_range}
    if max_weight is not None and chosen.max_weight is None and side.config.strategy.weighting.startswith("tokens"):
        found["max_weight"] = max_weight
    config = side.config.model_copy(update={"secure_sum": chosen.model_copy(update=found)})
    return replace(side, config=config.rooted(side.config.root))


def _peak(settings: LocalSettings, rounds: int) -> int:
    """Return the round, from 0, in whose middle the learning rate is highest."""
    return max(range(rounds), key=lambda number: learning_rate_at(settings, (number + 0.5) / rounds))


def _longest_side(params: ParamTree) -> int:
    return max((max(tensor.shape) for tensor in params.values() if tensor.ndim > 1), default=1)


def _largest(params: ParamTree) -> float:
    return max((float(tensor.detach().abs().max()) for tensor in params.values() if tensor.numel()), default=0.0)
