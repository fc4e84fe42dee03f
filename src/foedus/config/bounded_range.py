"""The range of values of `secure_sum` that follows from the settings alone: how far a round can move a parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from foedus.config import sections
from foedus.core.errors import ConfigError
from foedus.core.trees import ParamTree
from foedus.privacy.plan import RecordPlan
from foedus.training.batches import steps_per_round
from foedus.training.reach import reach
from foedus.training.settings import LocalSettings

_FURTHEST_NOISE = 6.7  # standard deviations; foedus.core.entropy draws none that lies further
_LARGEST_BATCH = 4.0  # times the expected one; a Poisson batch of 16 rows or more is larger once in 2^40
_GROWTH = 2.0  # of the largest weight over a run, for weight decay


def with_bounded_range(
    config: sections.RunConfig,
    settings: LocalSettings,
    initial: ParamTree,
    largest_rows: int,
    plans: Iterable[RecordPlan] = (),
) -> sections.RunConfig:
    """Return the configuration with the range of values that its settings bound, if it is left out and needed.

    largest_rows: that a participant may train on. plans: of participants that hide their records.
    Raises: ConfigError if nothing bounds it.
    """
    chosen, plans = config.secure_sum, list(plans)
    if isinstance(chosen, sections.PlainSum):
        return config
    if chosen.max_weight is None and config.strategy.weighting in ("tokens", "tokens_seen"):
        raise ConfigError(
            f"secure_sum.max_weight: is left out, and with strategy.weighting {config.strategy.weighting} only a dry "
            "round finds it, which there is none of here; give the most tokens that a participant may count by"
        )
    if chosen.value_range is not None:
        return config
    if isinstance(config.privacy, sections.ParticipantPrivacy):
        return config  # uploads are clipped as a whole, and their grid follows from that
    steps = max((plan.steps_per_round for plan in plans), default=None) or steps_per_round(
        largest_rows, settings.batch_size, settings.accumulation, settings.epochs, settings.steps
    )
    bound = _bound(config, settings, initial, steps, _largest_gradient(plans) or settings.gradient_clip)
    if bound is None:
        raise ConfigError(
            "secure_sum.value_range: is left out, and nothing bounds how far this strategy and optimizer move a "
            "parameter in a round; give it: a run on one machine with data of your own shows how far"
        )
    return with_grid(config, value_range=bound)


def with_grid(config: sections.RunConfig, **found: float) -> sections.RunConfig:
    """Return the configuration with these values in its secure_sum."""
    secure_sum: Any = config.secure_sum
    return config.model_copy(update={"secure_sum": secure_sum.model_copy(update=found)}).rooted(config.root)


def _bound(
    config: sections.RunConfig, settings: LocalSettings, initial: ParamTree, steps: int, gradient: float | None
) -> float | None:
    """Return how far a parameter can move, rounded up to three digits; None if nothing bounds it."""
    if isinstance(config.strategy, sections.Scaffold | sections.FedDyn | sections.Custom | sections.FedNova):
        return None  # what these send is no distance, or they add to the gradient what nothing bounds
    if config.local.seconds is not None:
        return None  # nobody knows how many steps that will be
    longest_side = max((max(tensor.shape) for tensor in initial.values() if tensor.ndim > 1), default=1)
    largest = max((float(tensor.detach().abs().max()) for tensor in initial.values() if tensor.numel()), default=0.0)
    bound = reach(settings, steps, longest_side, _GROWTH * largest, gradient)
    if bound is None:
        return None
    digits = 2 - math.floor(math.log10(bound))
    return math.ceil(bound * 10.0**digits) / 10.0**digits


def _largest_gradient(plans: Iterable[RecordPlan]) -> float | None:
    """Return the largest coordinate of a noisy gradient; None where none is noisy."""
    return max(
        (
            plan.clip_norm * (_LARGEST_BATCH + _FURTHEST_NOISE * plan.noise_multiplier / plan.expected_batch)
            for plan in plans
        ),
        default=None,
    )
