"""What a secure sum of updates, or of evaluations, is made of: which number stands in which word, on which grid.

Everything that a participant would have sent travels in one vector: weighted trees, the weight, summed
trees, metrics, counts, and how many values were clipped. So nobody else sees any of it but in a sum.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from foedus.core.errors import ParticipantError, SecureSumError
from foedus.federation.collect import RunningSum, check_update
from foedus.federation.messages import COUNTS, LocalUpdate, Sums, Trees
from foedus.privacy.secure_sum.masks import WIDTHS, Layout, Vector
from foedus.privacy.secure_sum.quantize import Grid, quantize, restore

METRICS = ("loss",)  # what local training reports; others stay at the participant
_FIGURES_RANGE = float(1 << 20)  # of metrics, of single numbers among the trees, and of evaluation statistics
_COUNTS_RANGE = float(1 << 40)
_WIDE, _NARROW = 64, 32
_DELTA = "delta"  # the part that compression may narrow


@dataclass(frozen=True)
class Scale:
    """How large what is summed may be.

    value_range: of a coordinate; what lies beyond is clipped and counted. None as long as a dry round has not found
    it: until then updates cannot be summed. max_weight: of a participant's weight; with more it cannot take part.
    participants: the most that one sum may have. value_bits: that the sum of one coordinate may take.
    delta_width: of the words that the mean update, the part "delta", is summed in.
    """

    value_range: float | None
    max_weight: float
    participants: int
    value_bits: int = _NARROW
    delta_width: int = _NARROW

    def __post_init__(self) -> None:
        for name in ("value_range", "max_weight"):
            if (value := getattr(self, name)) is not None and not (math.isfinite(value) and value > 0):
                raise SecureSumError(f"secure_sum.{name} is {value}; it must be a positive number")

    def grid(self, part: str, factor: float) -> Grid:
        """Return the grid of a part's values, each multiplied by what is at most `factor`.

        Raises: SecureSumError if the range of values is not known.
        """
        if self.value_range is None:
            raise SecureSumError(
                "secure_sum.value_range is not known yet; a dry round finds it, or the configuration gives it"
            )
        width = self.delta_width if part == _DELTA else _NARROW
        return Grid(self.value_range * factor, self.participants, width, sum_bits=min(width, self.value_bits))

    def describe(self) -> str:
        """Return what participants sign of it."""
        found = self.value_range.hex() if self.value_range is not None else None
        return f"{found} {self.max_weight.hex()} {self.participants} {self.value_bits} {self.delta_width}"


@dataclass(frozen=True)
class Entry:
    """One tensor's place. weighted: whether the weight times it is summed."""

    name: str
    shape: tuple[int, ...]
    grid: Grid
    weighted: bool


@dataclass(frozen=True)
class Contents:
    """All that one vector holds, in order; words of 64 bits before those of 32."""

    entries: tuple[Entry, ...]

    @property
    def layout(self) -> Layout:
        """The vector's layout."""
        sizes = {
            width: sum(math.prod(entry.shape) for entry in self.entries if entry.grid.width == width)
            for width in WIDTHS
        }
        return Layout(tuple((width, size) for width, size in sizes.items() if size))

    @property
    def settings(self) -> bytes:
        """The digest that participants sign: every name, shape and grid."""
        described = [
            [entry.name, list(entry.shape), entry.grid.describe().decode(), entry.weighted] for entry in self.entries
        ]
        return sha256(json.dumps(described, ensure_ascii=True).encode()).digest()

    def places(self) -> Iterator[tuple[Entry, int, slice]]:
        """Yield each entry with the array that its words lie in, and where."""
        widths = [width for width, _ in self.layout.counts]
        offsets = dict.fromkeys(widths, 0)
        for entry in self.entries:
            width, size = entry.grid.width, math.prod(entry.shape)
            yield entry, widths.index(width), slice(offsets[width], offsets[width] + size)
            offsets[width] += size

    def write(self, values: Mapping[str, Tensor], weight: float, vector: Vector) -> None:
        """Round the values to their grids, into the vector, and say in it how many were clipped.

        values: by the names of the entries. Those that are missing are 0, and are not counted as present.
        """
        clipped, place = 0, None
        for entry, array, words in self.places():
            if entry.name == _CLIPPED:
                place = array, words, entry.grid
            elif entry.name in values:
                scale = weight if entry.weighted else 1.0
                clipped += quantize(values[entry.name], entry.grid, vector[array][words], scale=scale)
        assert place is not None, "every vector counts what is clipped"
        quantize(torch.tensor([float(clipped)], dtype=torch.float64), place[2], vector[place[0]][place[1]])

    def read(self, total: Vector) -> Mapping[str, Tensor]:
        """Return the sums by name, float64."""
        return {
            entry.name: restore(total[array][words], entry.grid).reshape(entry.shape)
            for entry, array, words in self.places()
        }


_CLIPPED, _WEIGHT, _COUNTS = "clipped", "weight", "counts"


def _key(*names: str) -> str:
    return json.dumps(names, ensure_ascii=True)


def _figure(name: str, grid: Grid, *, weighted: bool = False) -> Entry:
    return Entry(name, (1,), grid, weighted)


def contents_of_updates(averaged_like: Trees, summed_like: Trees, scale: Scale) -> Contents:
    """Return what updates of these names and shapes come to. Single float64 numbers get words of 64 bits.

    Raises: SecureSumError if the range of values is not known.
    """
    n = scale.participants
    count = Grid(_COUNTS_RANGE, n, _WIDE, whole=True)
    weighted_figure = Grid(_FIGURES_RANGE * scale.max_weight, n, _WIDE)
    entries = [
        _figure(_CLIPPED, count),
        _figure(_WEIGHT, Grid(scale.max_weight, n, _WIDE)),
        *(_figure(_key("metric", name), weighted_figure, weighted=True) for name in METRICS),
        *(_figure(_key("count", name), count) for name in COUNTS),
        *(_figure(_key("present", name), count) for name in (*METRICS, *COUNTS)),
    ]
    for kind, trees_like, weighted in (("averaged", averaged_like, True), ("summed", summed_like, False)):
        factor = scale.max_weight if weighted else 1.0
        for part in sorted(trees_like):
            for name in sorted(trees_like[part]):
                tensor = trees_like[part][name]
                exact = tensor.dtype == torch.float64
                grid = Grid(_FIGURES_RANGE * factor, n, _WIDE) if exact else scale.grid(part, factor)
                entries.append(Entry(_key(kind, part, name), tuple(tensor.shape), grid, weighted))
    return Contents(tuple(entries))


def write_update(
    update: LocalUpdate, like: tuple[Trees, Trees], scale: Scale, contents: Contents, vector: Vector
) -> None:
    """Put an update into a vector. like: names and shapes of its averaged and its summed trees.

    Raises: ParticipantError if it is not what the strategy declares, or its weight is more than max_weight.
    """
    update = update.decoded()
    check_update(update, *like)
    if update.weight > scale.max_weight:
        raise ParticipantError("its weight is more than secure_sum.max_weight; raise that for everybody")
    values = {_WEIGHT: _number(update.weight)}
    present = {**update.metrics, **update.counts}
    for kind, figures in (("metric", update.metrics), ("count", update.counts)):
        values |= {_key(kind, name): _number(value) for name, value in figures.items()}
    values |= {_key("present", name): _number(1.0) for name in present}
    for kind, given in (("averaged", update.averaged), ("summed", update.summed)):
        values |= {_key(kind, part, name): tensor for part, tree in given.items() for name, tensor in tree.items()}
    contents.write(values, update.weight, vector)


def read_updates(sums: Mapping[str, Tensor], reports: int, total: RunningSum) -> int:
    """Fill a running sum with what an opened sum holds; return how many values were clipped."""
    weight = float(sums[_WEIGHT])
    if weight <= 0:
        raise SecureSumError(f"the weights of {reports} participants sum to {weight}; one of them did not follow")
    for part, like in total.averaged_like.items():
        total.averaged[part] = {
            name: (sums[_key("averaged", part, name)] / weight).to(_usual(tensor)) for name, tensor in like.items()
        }
    for part, like in total.summed_like.items():
        total.summed[part] = {
            name: sums[_key("summed", part, name)].to(_usual(tensor)) for name, tensor in like.items()
        }
    everybody = {name for name in (*METRICS, *COUNTS) if float(sums[_key("present", name)]) == reports}
    total.metrics |= {name: float(sums[_key("metric", name)]) for name in METRICS if name in everybody}
    total.counts |= {name: int(sums[_key("count", name)]) for name in COUNTS if name in everybody}
    total.weight, total.reports = weight, reports
    return int(sums[_CLIPPED])


def contents_of_evaluations(statistics_like: Sums, scale: Scale) -> Contents:
    """Return what evaluations of these statistics come to."""
    n = scale.participants
    figure, count = Grid(_FIGURES_RANGE * (1 << 11), n, _WIDE), Grid(_COUNTS_RANGE, n, _WIDE, whole=True)
    statistics = [
        Entry(_key(name), tuple(statistics_like[name].shape), figure, False) for name in sorted(statistics_like)
    ]
    return Contents((_figure(_CLIPPED, count), _figure(_WEIGHT, count), *statistics))


def write_evaluation(sums: Sums, statistics_like: Sums, contents: Contents, vector: Vector) -> None:
    """Put statistics into a vector; of a site without rows, all are 0.

    Raises: ParticipantError if they have other names or shapes.
    """
    shapes = {name: tensor.shape for name, tensor in statistics_like.items()}
    if sums and {name: tensor.shape for name, tensor in sums.items()} != shapes:
        raise ParticipantError("its statistics have other names or shapes than were agreed on")
    values = {_key(name): tensor for name, tensor in sums.items()}
    contents.write({**values, _WEIGHT: _number(1.0 if sums else 0.0)}, 1.0, vector)


def read_evaluations(sums: Mapping[str, Tensor], statistics_like: Sums) -> Sums:
    """Return the statistics summed over all; nothing if nobody had rows."""
    if float(sums[_WEIGHT]) == 0:
        return {}
    return {name: sums[_key(name)].to(tensor.dtype) for name, tensor in statistics_like.items()}


def contents_of_counts(size: int, participants: int) -> Contents:
    """Return what so many counts come to."""
    count = Grid(_COUNTS_RANGE, participants, _WIDE, whole=True)
    return Contents((_figure(_CLIPPED, count), Entry(_COUNTS, (size,), count, False)))


def write_counts(counts: Tensor, contents: Contents, vector: Vector) -> None:
    """Put counts into a vector."""
    contents.write({_COUNTS: counts}, 1.0, vector)


def read_counts(sums: Mapping[str, Tensor]) -> Tensor:
    """Return the counts summed over all, int64."""
    return sums[_COUNTS].to(torch.int64)


def _number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _usual(like: Tensor) -> Tensor:
    """Return an example of a sum's type and place: float32 at least."""
    return torch.empty((), dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
