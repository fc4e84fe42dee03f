"""Exact draws of discrete Gaussian and Skellam noise, millions a second, by inversion of a table.

The distribution is tabulated to 2^-DIGITS in whole numbers. A draw compares a uniform number with the table, and takes
as many of its digits as that needs: 32 at first, more where these do not decide. So what is drawn has the tabulated
probabilities exactly; these are within 2^-200 of the true ones, in total variation (see `_Table`).
Over 2^25 coordinates, 2^10 participants and 2^20 rounds that is 2^-145, which δ does not notice.
Sources: Canonne, Kamath, Steinke 2020, arXiv:2004.00010, for the discrete Gaussian, which they draw by rejection;
    Agarwal, Kairouz, Liu 2021, arXiv:2110.04995, for Skellam.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foedus.core.entropy import Entropy

Distribution = Literal["discrete_gaussian", "skellam"]

DIGITS = 256  # binary ones of a tabulated probability
_FIRST = 32  # digits that a draw begins with
_CELL = 16  # of these, how many choose a cell of the guide
_WORKING = 512  # digits that weights are computed with
_CHUNK = 1 << 16  # draws that are made together: they and the table stay in the processor's cache
# Beyond so many standard deviations lie less than 2^-220 of a Gaussian; a Skellam's tails are a little longer.
_TAIL = 18
MOST_STDDEV = 1 << 13  # of 16 bits and two participants


def sampler(distribution: Distribution, variance: float) -> Table:
    """Return what draws this noise; made once for each variance, which takes up to a second."""
    if not 0 < variance <= MOST_STDDEV**2:
        raise ValueError(f"noise of variance {variance} was asked for; it lies above 0 and up to {MOST_STDDEV}^2")
    return _made(distribution, variance)


@lru_cache(maxsize=4)
def _made(distribution: Distribution, variance: float) -> Table:
    return Table(gaussian_weights(variance) if distribution == "discrete_gaussian" else skellam_weights(variance))


class Table:
    """Draws whole numbers from -N to N, each x with probability weights[|x|] over the sum of all.

    The sum of absolute differences to a true distribution is that of the weights (their relative error, and the tail
    beyond N) and 2^-DIGITS for each of the 2 N + 1 bounds between values.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        while not weights[-1]:
            weights = weights[:-1]
        both = [*reversed(weights[1:]), *weights]
        total = sum(both)
        self.least = 1 - len(weights)
        # the chance of at most each value; the last one is 1, and is left out
        self.bounds = [(summed << DIGITS) // total for summed in accumulate(both)][:-1]
        tops = [bound >> (DIGITS - _FIRST) for bound in self.bounds]
        self._tops = np.array([*tops, (1 << _FIRST) - 1], dtype=np.uint32)
        edges = np.arange((1 << _CELL) + 1, dtype=np.uint64) << np.uint64(_FIRST - _CELL)
        guide = np.searchsorted(self._tops.astype(np.uint64), edges)
        self._guide = guide[:-1].astype(np.int32)
        self._crowded = np.diff(guide) > 1  # more than one bound: one comparison does not decide

    def draw(self, count: int, entropy: Entropy) -> NDArray[np.int32]:
        """Return so many independent values."""
        drawn = np.empty(count, dtype=np.int32)
        for begin in range(0, count, _CHUNK):
            piece = drawn[begin : begin + _CHUNK]
            self._fill(np.frombuffer(entropy.draw(4 * len(piece)), dtype="<u4"), piece, entropy)
        return drawn

    def _fill(self, words: NDArray[np.uint32], into: NDArray[np.int32], entropy: Entropy) -> None:
        """Put the number of bounds that lie at or below each uniform number, less the middle, into an array."""
        cells = words >> np.uint32(_FIRST - _CELL)
        places = self._guide[cells]
        places += self._tops[places] < words
        if (crowded := np.flatnonzero(self._crowded[cells])).size:
            places[crowded] = np.searchsorted(self._tops, words[crowded])
        for undecided in np.flatnonzero(self._tops[places] == words):
            rest = int.from_bytes(entropy.draw((DIGITS - _FIRST) // 8), "big")
            uniform = int(words[undecided]) << (DIGITS - _FIRST) | rest
            places[undecided] = bisect_right(self.bounds, uniform)
        np.add(places, self.least, out=into)


def gaussian_weights(variance: float) -> list[int]:
    """Return numbers in proportion to exp(-x² / (2 variance)), for x from 0 to beyond where anything is ever drawn.

    They are made one from the other, w(x+1) = w(x) · q^(2x+1); what is cut off adds up to 2^-400 or less of each.
    """
    with localcontext() as context:
        context.prec = 2 * _WORKING // 3
        ratio = (Decimal(-1) / (2 * Decimal(variance))).exp()
        step = _fixed(ratio)
    weight, factor, square = 1 << _WORKING, step, step * step >> _WORKING
    weights = []
    for _ in range(_reach(variance)):
        weights.append(weight)
        weight = weight * factor >> _WORKING
        factor = factor * square >> _WORKING
    return weights


def skellam_weights(variance: float) -> list[int]:
    """Return numbers in proportion to I_x(variance), the Skellam probabilities, for x from 0 on.

    By the recurrence I_(x-1) = I_(x+1) + (2 x / variance) I_x from far outside inwards, where it is stable (Miller);
    it starts so far out that what it starts from is not felt.
    """
    exact = Fraction(variance)
    above, here = 0, 1 << _WORKING
    weights = [here]
    for x in range(_reach(variance) + 64, 0, -1):
        above, here = here, above + 2 * x * here * exact.denominator // exact.numerator
        weights.append(here)
    weights.reverse()
    return weights


def _reach(variance: float) -> int:
    """Return how many values from 0 on have a chance that matters. A Skellam of small variance has Poisson's tails."""
    return math.ceil(_TAIL * math.sqrt(variance)) + 200


def _fixed(ratio: Decimal) -> int:
    return int(ratio * (1 << _WORKING))
