"""A dry round before the first one: it finds the range and the greatest weight that `secure_sum` leaves out.

Where records are hidden there is none, because it would tell something of them that nobody counts: there the range
follows from the settings alone.
"""

from __future__ import annotations

from dataclasses import replace

from foedus.config import sections
from foedus.config.bounded_range import with_grid
from foedus.config.narrow_sums import keeps_remainders
from foedus.config.side import Side
from foedus.core.errors import ConfigError
from foedus.federation.collect import drive
from foedus.federation.magnitudes import COUNTS, bounds_of
from foedus.federation.messages import Clock, DryRound
from foedus.federation.protocols import ServerState
from foedus.federation.round import Federation
from foedus.training.settings import LocalSettings, learning_rate_at

MARGIN = 4.0  # later rounds may go further than the dry one
_NARROW_MARGIN = 1.0  # narrow words have few levels, and what lies beyond is sent later


def needs_dry_round(config: sections.RunConfig) -> bool:
    """Return whether the grid is not known before participants have trained once."""
    chosen = config.secure_sum
    if isinstance(chosen, sections.PlainSum) or not isinstance(config.privacy, sections.NoPrivacy):
        return False
    return chosen.value_range is None or (_counts_tokens(config) and chosen.max_weight is None)


def play_dry_round(side: Side, federation: Federation, state: ServerState) -> Side:
    """Let a round's cohort train once, keep nothing, and tell in a secure sum how large values and weights are.

    It trains where the learning rate is highest. What the configuration gives stays.
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
    return replace(side, config=_with_found(side.config, *bounds_of(collected.total)))


def _with_found(config: sections.RunConfig, largest_value: float, largest_weight: float) -> sections.RunConfig:
    chosen = config.secure_sum
    assert not isinstance(chosen, sections.PlainSum), "there was a secure sum"
    found = {} if chosen.value_range is not None else {"value_range": margin(config) * largest_value}
    if _counts_tokens(config) and chosen.max_weight is None:
        found["max_weight"] = largest_weight
    return with_grid(config, **found)


def margin(config: sections.RunConfig) -> float:
    """Return how many times the largest change of the dry round the range is."""
    return _NARROW_MARGIN if keeps_remainders(config) else MARGIN


def _counts_tokens(config: sections.RunConfig) -> bool:
    return config.strategy.weighting in ("tokens", "tokens_seen")


def _peak(settings: LocalSettings, rounds: int) -> int:
    """Return the round, from 0, in whose middle the learning rate is highest."""
    return max(range(rounds), key=lambda number: learning_rate_at(settings, (number + 0.5) / rounds))
