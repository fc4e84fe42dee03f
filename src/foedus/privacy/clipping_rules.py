"""Which norm a whole upload is clipped to: always the same one, or one that follows the uploads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foedus.core.errors import ConfigError


@dataclass(frozen=True)
class FixedClip:
    """Every upload is scaled down to this joint L2 norm, over all that it holds."""

    norm: float

    def __post_init__(self) -> None:
        check_norm("norm", self.norm)


@dataclass(frozen=True)
class AdaptiveClip:
    """The norm follows a quantile of the uploads' norms, learnt from one noised count a round.

    initial_norm: the norm of the first round.
    quantile: the share of uploads whose norm should lie within it.
    learning_rate: after a round the norm is multiplied by exp(-learning_rate * (noised share - quantile)).
    count_stddev: noise on the sum of (1 if within the norm else 0) - 1/2; without it, expected cohort / 20.
        Half is taken off so that one participant changes that sum by 1/2, not by 1.
    Source: Andrew et al. 2021, arXiv:1905.03871, Algorithm 1.
    """

    initial_norm: float = 0.1
    quantile: float = 0.5
    learning_rate: float = 0.2
    count_stddev: float | None = None

    def __post_init__(self) -> None:
        check_norm("initial_norm", self.initial_norm)
        if not 0 < self.quantile < 1:
            raise ConfigError(
                f"adaptive clipping: quantile is {self.quantile}; it lies strictly between 0 and 1, use 0.5"
            )
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(f"adaptive clipping: learning_rate is {self.learning_rate}; it is above 0, use 0.2")
        if self.count_stddev is not None and not (self.count_stddev > 0 and math.isfinite(self.count_stddev)):
            raise ConfigError(
                f"adaptive clipping: count_stddev is {self.count_stddev}; it is above 0, or left out "
                "for a twentieth of the expected cohort"
            )

    def next_norm(self, norm: float, noised_count: float, expected_cohort: float) -> float:
        """Return the norm of the next round.

        noised_count: the sum of (1 if within the norm else 0) - 1/2 over the cohort, plus its noise.
        """
        share = noised_count / expected_cohort + 0.5
        return norm * math.exp(-self.learning_rate * (share - self.quantile))


Clip = FixedClip | AdaptiveClip


def check_norm(name: str, norm: float) -> None:
    """Raise ConfigError if the clipping norm is not a finite number above 0."""
    if not (norm > 0 and math.isfinite(norm)):
        raise ConfigError(
            f"clipping: {name} is {norm}; it is a finite number above 0, "
            "in the unit of a gradient (records: start with 0.1) or of an update (participants)"
        )


def update_multiplier(noise_multiplier: float, count_stddev: float) -> float:
    """Return the noise multiplier of the updates such that with the noised count it makes `noise_multiplier`.

    z_Δ = (z^-2 - (2 σ_b)^-2)^-1/2: Andrew et al. 2021, Theorem 1.

    >>> round(update_multiplier(1.0, 100 / 20), 6)
    1.005038

    Raises: ConfigError if the count alone costs more than `noise_multiplier` allows.
    """
    if noise_multiplier >= 2 * count_stddev:
        raise ConfigError(
            f"adaptive clipping: the noise multiplier is {noise_multiplier}, and the count of clipped uploads has "
            f"noise of {count_stddev:g}, which alone costs as much; use a cohort of more than "
            f"{10 * noise_multiplier:.0f} expected participants, a count_stddev above {noise_multiplier / 2:g}, "
            "or clip: {kind: fixed}"
        )
    return float((noise_multiplier**-2 - (2 * count_stddev) ** -2) ** -0.5)
