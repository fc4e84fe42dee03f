"""Byte-pair encoding learnt from participants' texts that stay where they are: both halves.

In each round every participant counts which two units stand side by side how often in its own words, and sends that
as one vector of whole numbers. Only the vectors' sum is used: the coordinator merges the pairs that are most
frequent in all texts together, and tells everybody. A unit is one of the 256 bytes or what a merge made; its number is
its place in `spell`.

Source: Sennrich et al. 2016, arXiv:1508.07909, over bytes as in Radford et al. 2019 (GPT-2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foedus.core.errors import DataError
from foedus.federation.collect import Collector, drive
from foedus.federation.counting import CollectedCounts, collect_counts
from foedus.federation.messages import CountPairs, ParticipantId
from foedus.federation.protocols import Engine

Merge = tuple[int, int]  # two units that become one
Integers = NDArray[np.int64]

MINIMUM_COUNT = 2  # a pair that stands once in all texts teaches nothing, and may be somebody's name
_WORD_END = -1


@cache
def alphabet() -> tuple[str, ...]:
    """Return a printable character for each byte, in the order in which `tokenizers` numbers them."""
    from tokenizers.pre_tokenizers import ByteLevel

    return tuple(sorted(ByteLevel.alphabet()))


def spell(merges: Sequence[Merge]) -> tuple[list[str], list[int]]:
    """Return what each unit stands for, and the unit that each merge makes.

    Two merges that spell the same make the same unit.
    """
    names = list(alphabet())
    numbers = {name: number for number, name in enumerate(names)}
    made = []
    for left, right in merges:
        name = names[left] + names[right]
        if name not in numbers:
            numbers[name] = len(names)
            names.append(name)
        made.append(numbers[name])
    return names, made


class WordPairs:
    """A participant's distinct words and how often each occurs: the half that stays at home.

    Texts are cut into words as GPT-2 does, so that no pair reaches across a space. What the merges so far made of the
    words is kept, because the next request's merges begin with the same ones.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        counts = count_words(texts)
        numbers = {name: number for number, name in enumerate(alphabet())}
        spelt = [[*(numbers[character] for character in word), _WORD_END] for word in counts]
        self._start = (
            np.array([unit for word in spelt for unit in word], np.int64),
            np.repeat(np.array(list(counts.values()), np.int64), [len(word) for word in spelt]),
        )
        self._merges: tuple[Merge, ...] = ()
        self._units, self._counts = self._start

    def count_pairs(self, merges: Sequence[Merge]) -> Tensor:
        """Return how often each unit stands before each other, at place left * units + right of one vector."""
        merges = tuple(merges)
        names, made = spell(merges)
        if merges[: len(self._merges)] != self._merges:
            self._merges, (self._units, self._counts) = (), self._start
        for merge, unit in list(zip(merges, made, strict=True))[len(self._merges) :]:
            self._units, self._counts = join(self._units, self._counts, merge, unit)
        self._merges = merges
        left, right = self._units[:-1], self._units[1:]
        within = (left != _WORD_END) & (right != _WORD_END)
        places = left[within] * len(names) + right[within]
        # bincount adds in float64, which is exact up to 2^53
        pairs = np.bincount(places, self._counts[:-1][within], minlength=len(names) ** 2)
        return torch.from_numpy(pairs.astype(np.int64))


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Return how often each word occurs, its bytes written as `alphabet` has them."""
    from tokenizers.pre_tokenizers import ByteLevel

    cutter = ByteLevel(add_prefix_space=False)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in cutter.pre_tokenize_str(text))
    return counts


def join(units: Integers, counts: Integers, merge: Merge, made: int) -> tuple[Integers, Integers]:
    """Return the units with each occurrence of a pair made one, from left to right; counts keep to their units.

    >>> units, counts = join(np.array([0, 0, 0, 1, -1]), np.full(5, 9), (0, 0), 2)
    >>> units.tolist(), counts.tolist()
    ([2, 0, 1, -1], [9, 9, 9, 9])
    """
    left, right = merge
    at = np.flatnonzero((units[:-1] == left) & (units[1:] == right))
    if left == right and len(at):  # in a row of equal units every second pair overlaps the one before
        order = np.arange(len(at))
        begins = np.diff(at, prepend=-2) != 1
        at = at[(order - np.maximum.accumulate(np.where(begins, order, 0))) % 2 == 0]
    joined = units.copy()
    joined[at] = made
    keep = np.ones(len(units), np.bool_)
    keep[at + 1] = False
    return joined[keep], counts[keep]


def choose_merges(totals: Tensor, units: int, most: int) -> list[Merge]:
    """Return the most frequent pairs, at most so many; of equally frequent ones, those of lower numbers.

    Pairs that could overlap in a text (one ends with the unit that the other begins with) are not taken at once:
    merging one would change how often the other occurs. So each count is exact, whichever is merged first.
    """
    counts = totals.numpy()
    frequent = np.flatnonzero(counts >= MINIMUM_COUNT)
    chosen: list[Merge] = []
    firsts: set[int] = set()
    seconds: set[int] = set()
    for place in frequent[np.argsort(-counts[frequent], kind="stable")].tolist():
        if len(chosen) == most:
            break
        left, right = divmod(place, units)
        if left in seconds or right in firsts:
            continue
        chosen.append((left, right))
        firsts.add(left)
        seconds.add(right)
    return chosen


@dataclass(frozen=True)
class LearntMerges:
    """The merges in order, the rounds that it took, bytes both ways, and who was left out of some round, and why."""

    merges: Sequence[Merge]
    rounds: int
    bytes_down: int
    bytes_up: int
    left_out: Mapping[ParticipantId, str]


CollectCounts = Callable[[Sequence[ParticipantId], CountPairs, int], Collector[CollectedCounts]]


def learn_merges(
    engine: Engine, units: int, merges_per_round: int, collect: CollectCounts = collect_counts
) -> LearntMerges:
    """Merge until there are so many units, bytes included, or no pair occurs twice in all texts together.

    merges_per_round: 1 gives what central training on the pooled texts gives; more needs fewer rounds, and differs
        from it where a merge makes a pair that is more frequent than others of the same round.
    collect: how counts become their sum; in the clear unless told.
    Raises: DataError if in some round no participant could count.
    """
    merges: list[Merge] = []
    left_out: dict[ParticipantId, str] = {}
    rounds = bytes_down = bytes_up = 0
    while (known := len(spell(merges)[0])) < units:
        request = CountPairs(tuple(merges))
        collected = drive(collect(engine.population(), request, known**2), engine)
        left_out |= collected.left_out
        bytes_down, bytes_up = bytes_down + collected.bytes_down, bytes_up + collected.bytes_up
        if not collected.reports:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
            raise DataError(f"cannot learn a tokenizer: no participant could count pairs of letters ({reasons})")
        rounds += 1
        chosen = choose_merges(collected.total, known, min(merges_per_round, units - known))
        if not chosen:
            break
        merges += chosen
    return LearntMerges(merges, rounds, bytes_down, bytes_up, left_out)
