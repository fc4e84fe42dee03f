"""How DP-FTRL correlates its noise over rounds, and what that does to sensitivity and error.

Running sums of T releases are A x, with A all ones on and below the diagonal. With A = B C, releasing
A x + B z costs as much as one Gaussian on C x. C is lower triangular with constant diagonals, given by its first
column c; the noise of round t is (C^-1 z)_t. Independent noise is C = 1.
It holds for updates that depend on earlier releases too (Denisov et al. 2022, arXiv:2202.08312).
Source: Kairouz et al. 2021, arXiv:2103.00039; Choquette-Choo et al. 2023, arXiv:2306.08153.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foedus.core.errors import ConfigError

Column = NDArray[np.float64]


class Factor(Protocol):
    """The first column of C, which is 1 at first, nowhere negative, and nowhere rises."""

    def column(self, rounds: int) -> Column:
        """Return c. Shape: (rounds,)."""
        ...

    def inverse_column(self, rounds: int) -> Column:
        """Return the first column of C^-1. Shape: (rounds,)."""
        ...


@dataclass(frozen=True)
class BandedSquareRoot:
    """The square root of A, cut off after `bands` diagonals; one band is independent noise.

    The last bands - 1 noises are kept in memory. Best at about as many bands as the minimum separation.
    Source: Choquette-Choo et al. 2023, arXiv:2306.08153, with the closed form of Fichtenberger et al. 2022,
        arXiv:2202.11205, in place of a numerical optimum.
    """

    bands: int

    def __post_init__(self) -> None:
        if self.bands < 1:
            raise ConfigError(f"correlated noise: bands is {self.bands}; it is at least 1, which is independent noise")

    def column(self, rounds: int) -> Column:
        """Return c[0] = 1, c[i] = c[i-1] (2i - 1) / 2i up to the last band, and 0 after it."""
        steps = np.arange(1, min(self.bands, rounds), dtype=np.float64)
        head = np.concatenate([[1.0], np.cumprod((2 * steps - 1) / (2 * steps))])
        return np.concatenate([head, np.zeros(rounds - len(head))])

    def inverse_column(self, rounds: int) -> Column:
        """Return the first column of C^-1, by forward substitution."""
        head = self.column(min(self.bands, rounds))[1:]
        inverse = np.zeros(rounds)
        inverse[0] = 1.0
        for i in range(1, rounds):
            recent = inverse[max(0, i - len(head)) : i][::-1]
            inverse[i] = -head[: len(recent)] @ recent
        return inverse


@dataclass(frozen=True)
class BufferedToeplitz:
    """c[i] = Σ_j scales[j] decays[j]^(i-1): a C whose inverse needs one buffer for each decay (BLT).

    Needs float64.
    Source: McMahan et al. 2024, arXiv:2408.08868; Dvijotham et al. 2024, arXiv:2404.16706.
    """

    scales: tuple[float, ...]
    decays: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.decays) or not self.scales:
            raise ConfigError(
                f"correlated noise: {len(self.scales)} scales and {len(self.decays)} decays; "
                "give one of each for each buffer, and at least one buffer"
            )
        if min(self.scales) < 0 or sum(self.scales) > 1 or min(self.decays) < 0 or max(self.decays) > 1:
            raise ConfigError(
                "correlated noise: scales are not negative and sum to at most 1, decays lie in [0, 1]; "
                "otherwise the sensitivity is not the one that is counted"
            )

    def column(self, rounds: int) -> Column:
        """Return c."""
        powers = np.array(self.decays)[:, None] ** np.arange(rounds - 1)[None, :]  # Shape: (buffers, rounds - 1)
        return np.concatenate([[1.0], np.array(self.scales) @ powers])

    def inverse_column(self, rounds: int) -> Column:
        """Return the first column of C^-1: the noise that one unit in the first round becomes."""
        scales, decays = np.array(self.scales), np.array(self.decays)
        buffers = np.zeros(len(scales))
        inverse = np.zeros(rounds)
        for i in range(rounds):
            inverse[i] = (i == 0) - scales @ buffers
            buffers = decays * buffers + inverse[i]
        return inverse


def sensitivity(factor: Factor, rounds: int, min_separation: int, max_participations: int) -> float:
    """Return the largest norm of C x for one participant's x with rows of norm <= 1.

    The participant takes part at most `max_participations` times, any two of them at least `min_separation`
    rounds apart. The worst is to start in the first round and come back as soon as allowed: ‖Σ_j C[:, j b]‖,
    because c is not negative and never rises (Kalinin and Lampert 2024, arXiv:2405.13763).
    """
    column = factor.column(rounds)
    total = np.zeros(rounds)
    for start in list(range(0, rounds, min_separation))[:max_participations]:
        total[start:] += column[: rounds - start]
    return float(np.linalg.norm(total))


def running_sum_error(factor: Factor, rounds: int) -> float:
    """Return the root mean square, over rounds, of the noise in a coordinate of the running sum, for unit z.

    Times the sensitivity, and the noise multiplier, it compares factors at equal ε.
    """
    row = np.cumsum(factor.inverse_column(rounds))  # B = A C^-1 has constant diagonals too
    return math.sqrt(float(np.mean(np.cumsum(row**2))))
