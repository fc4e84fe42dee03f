"""The integer grid of a noised sum: how fine it is, how much noise each participant adds, how long a rounded upload is.

All lengths are over the clipping norm, or in steps of the grid; nothing here depends on the clip.
Source: Kairouz, Liu, Steinke 2021, arXiv:2102.06387: section 4.2 (rounding), section 6 (choice of the step).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foedus.core.errors import ConfigError
from foedus.privacy.distributed.rotation import spread

# A coordinate of a sum wraps around where it lies further from 0 than so many standard deviations.
DEVIATIONS = 4
LEAST_BITS, MOST_BITS = 8, 16
# β of conditional rounding is e^(-1/2): of those roundings that are allowed, a good part comes at the first try.
_LOG_INVERSE_BETA = 0.5


@dataclass(frozen=True)
class NoisedGrid:
    """One round's grid.

    noise_multiplier: of the sum's noise, from `honest` participants alone, over the clipping norm.
    cohort: the most participants in a sum. honest: the fewest whose noise nobody knows.
    bits: of a coordinate of the sum. dimension: coordinates after padding.
    """

    noise_multiplier: float
    cohort: int
    honest: int
    bits: int
    dimension: int

    def __post_init__(self) -> None:
        if not 1 <= self.honest <= self.cohort:
            raise ConfigError(
                f"distributed noise: {self.honest} honest participants of at most {self.cohort} in a sum; "
                "there is at least 1, and no more than take part"
            )
        if not LEAST_BITS <= self.bits <= MOST_BITS:
            raise ConfigError(f"distributed noise: {self.bits} bits for a coordinate; use {LEAST_BITS} to {MOST_BITS}")
        if self._reach**2 <= self.cohort / 4:
            raise ConfigError(
                f"distributed noise: {self.bits} bits cannot hold the sum of {self.cohort} participants; use more bits"
            )

    @property
    def _reach(self) -> float:
        """A standard deviation of a coordinate of the sum, in steps, that fits so often into half of the range."""
        return float((1 << self.bits) / (2 * DEVIATIONS))

    @property
    def step(self) -> float:
        """The grid's step over the clipping norm, γ / C.

        The largest sum has variance spread · n² / D + n (γ²/4 + σ²), in units of the clip, of which DEVIATIONS
        standard deviations are to be half of 2^bits steps.
        """
        signal = spread(self.dimension) * self.cohort**2 / self.dimension
        noise = self.cohort * self.noise_multiplier**2 / self.honest
        return math.sqrt((signal + noise) / (self._reach**2 - self.cohort / 4))

    @property
    def stddev(self) -> float:
        """The standard deviation of one participant's noise, in steps."""
        return self.noise_multiplier / (math.sqrt(self.honest) * self.step)

    @property
    def largest_squared_norm(self) -> int:
        """What a rounded upload's squared norm is at most, in steps: rounding is repeated until it is.

        The lesser of what stochastic rounding seldom exceeds and what it never does.
        """
        norm, root = 1 / self.step, math.sqrt(self.dimension)
        seldom = norm**2 + self.dimension / 4 + math.sqrt(2 * _LOG_INVERSE_BETA) * (norm + root / 2)
        return math.floor(min(seldom, (norm + root) ** 2))

    @property
    def inflation(self) -> float:
        """How many times longer a rounded upload may be than the clipping norm."""
        return math.sqrt(self.largest_squared_norm) * self.step

    @property
    def wrap_probability(self) -> float:
        """A bound on the chance that a coordinate of the largest sum wraps around, as if it were normal."""
        return math.erfc(DEVIATIONS / math.sqrt(2))
