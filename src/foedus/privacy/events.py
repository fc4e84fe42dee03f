"""What a mechanism costs, as the accountant sees it: the only thing about a release that a ledger stores.

All events are for neighbours that differ by adding or removing one unit (a record, a block, a participant).
There is no event for sampling of a fixed size, and none for replacing a unit: a noise multiplier that is right
here would be half of what is needed there.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from foedus.core.errors import ConfigError

VERSION = 1


@dataclass(frozen=True)
class Gaussian:
    """One sum of vectors of norm <= 1, with N(0, noise_multiplier^2) on every coordinate; all units take part."""

    noise_multiplier: float

    def __post_init__(self) -> None:
        _check_multiplier(self)


@dataclass(frozen=True)
class PoissonGaussian:
    """A Gaussian over the units whose coins came up, each by itself with probability sampling_rate in (0, 1].

    It is charged to every unit that had a coin, and holds against those who do not learn whose came up.
    """

    noise_multiplier: float
    sampling_rate: float

    def __post_init__(self) -> None:
        _check_multiplier(self)
        _check_rate(self)


@dataclass(frozen=True)
class TruncatedPoissonGaussian:
    """A Poisson-sampled Gaussian of which at most `cap` units take part, a random subset of those whose coins came up.

    population: how many have a coin.
    Source: arXiv:2508.15089. Where the cap often bites, one unit displaces another and the cost explodes.
    """

    noise_multiplier: float
    sampling_rate: float
    population: int
    cap: int

    def __post_init__(self) -> None:
        _check_multiplier(self)
        _check_rate(self)
        if self.population < 1 or self.cap < 1:
            raise ConfigError(
                f"reading a privacy event: population is {self.population} and cap {self.cap}; both are at least 1"
            )


@dataclass(frozen=True)
class CorrelatedGaussian:
    """All releases of one stream with correlated noise (DP-FTRL), together one Gaussian; to be charged once.

    noise_multiplier: the standard deviation of the independent noise over the stream's sensitivity.
    rounds, min_separation, max_participations: the participation schema for which that sensitivity holds;
        a participant who takes part more often, or sooner again, is not covered.
    Neighbours: all contributions of one participant are replaced by zeros ("zero-out"), which equals removing
        it as long as nobody else's participation depends on it.
    """

    noise_multiplier: float
    rounds: int
    min_separation: int
    max_participations: int

    def __post_init__(self) -> None:
        _check_multiplier(self)
        if min(self.rounds, self.min_separation, self.max_participations) < 1:
            raise ConfigError(
                "reading a privacy event: rounds, min_separation and max_participations are at least 1, "
                f"seen {self.rounds}, {self.min_separation} and {self.max_participations}"
            )


@dataclass(frozen=True)
class DistributedGaussian:
    """One sum over a grid of rounded uploads, to which every participant added discrete Gaussian noise.

    noise_multiplier: of the noise of `honest` participants together, over the clipping norm.
    cohort: the most in a sum. bits: of a coordinate. dimension: coordinates; how fine the grid is, and how much longer
        rounding makes an upload, follows from all these (privacy/distributed/grid.py).
    Neighbours: all that one participant uploads is replaced by zeros; it adds its noise all the same.
    """

    noise_multiplier: float
    cohort: int
    honest: int
    bits: int
    dimension: int

    def __post_init__(self) -> None:
        _check_multiplier(self)
        _check_counts(self)


@dataclass(frozen=True)
class DistributedSkellam:
    """The same with Skellam noise."""

    noise_multiplier: float
    cohort: int
    honest: int
    bits: int
    dimension: int

    def __post_init__(self) -> None:
        _check_multiplier(self)
        _check_counts(self)


# A new mechanism is a dataclass here, a name in KINDS, and a case in composition.py; nothing else reads events.
Distributed = DistributedGaussian | DistributedSkellam
Event = Gaussian | PoissonGaussian | TruncatedPoissonGaussian | CorrelatedGaussian | Distributed
Charge = tuple[Event, int]  # an event and how often it happened

KINDS: dict[str, type[Event]] = {
    "gaussian": Gaussian,
    "poisson_gaussian": PoissonGaussian,
    "truncated_poisson_gaussian": TruncatedPoissonGaussian,
    "correlated_gaussian": CorrelatedGaussian,
    "distributed_gaussian": DistributedGaussian,
    "distributed_skellam": DistributedSkellam,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def to_json(event: Event) -> str:
    """Return the event as one line of JSON; equal events give equal lines.

    >>> to_json(PoissonGaussian(1.1, 0.01))
    '{"kind":"poisson_gaussian","noise_multiplier":1.1,"sampling_rate":0.01,"version":1}'
    """
    fields = {"version": VERSION, "kind": _NAMES[type(event)], **dataclasses.asdict(event)}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Event:
    """Return the event that `to_json` wrote.

    Raises: ConfigError for anything else: a charge that cannot be read must not be counted as nothing.
    """
    try:
        fields: Any = json.loads(text)
        version, kind = fields.pop("version"), fields.pop("kind")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            "reading a privacy event: it is not a JSON object with version and kind; "
            "restore the ledger from a backup, or ask whoever wrote it"
        ) from error
    if version != VERSION or kind not in KINDS:
        raise ConfigError(
            f"reading a privacy event: it is of kind {kind!r}, version {version!r}; this version of foedus knows "
            f"{', '.join(KINDS)} of version {VERSION}. Use the foedus that wrote it, or a newer one"
        )
    names = {field.name: field.type for field in dataclasses.fields(KINDS[kind])}
    if fields.keys() != names.keys() or not all(_is_of_type(fields[name], kept) for name, kept in names.items()):
        raise ConfigError(
            f"reading a privacy event of kind {kind}: its fields are {sorted(fields)}, expected the numbers "
            f"{sorted(names)}; restore the ledger from a backup, or ask whoever wrote it"
        )
    return KINDS[kind](**fields)


def merged(charges: Iterable[Charge]) -> tuple[Charge, ...]:
    """Return the charges with equal events counted together, in an order that does not depend on the given one.

    Raises: ConfigError for a negative count.
    """
    counts: dict[Event, int] = {}
    for event, count in charges:
        if count < 0:
            raise ConfigError(f"composing privacy events: a count is {count}; what was spent cannot be taken back")
        counts[event] = counts.get(event, 0) + count
    return tuple((event, counts[event]) for event in sorted(counts, key=to_json) if counts[event])


def with_noise(charges: Sequence[Charge], noise_multiplier: float) -> tuple[Charge, ...]:
    """Return the same charges with another noise multiplier."""
    return tuple((dataclasses.replace(event, noise_multiplier=noise_multiplier), count) for event, count in charges)


def _is_of_type(value: object, annotation: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if annotation == "int" else isinstance(value, int | float)


def _check_multiplier(event: Event) -> None:
    if not (event.noise_multiplier > 0 and math.isfinite(event.noise_multiplier)):
        raise ConfigError(
            f"a privacy event has noise multiplier {event.noise_multiplier}; it is a finite number above 0"
        )


def _check_rate(event: PoissonGaussian | TruncatedPoissonGaussian) -> None:
    if not 0 < event.sampling_rate <= 1:
        raise ConfigError(f"a privacy event has sampling rate {event.sampling_rate}; it lies above 0 and up to 1")


def _check_counts(event: Distributed) -> None:
    if not (1 <= event.honest <= event.cohort and event.bits >= 1 and event.dimension >= 1):
        raise ConfigError(
            f"reading a privacy event: {event.honest} honest of {event.cohort} participants, {event.bits} bits, "
            f"{event.dimension} coordinates; all are at least 1, and no more are honest than take part"
        )
