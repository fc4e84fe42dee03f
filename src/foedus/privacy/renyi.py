"""What charges cost together by Rényi divergence: for noise of which no tighter account is known.

Divergences of one order add up over rounds, also where later ones depend on earlier results; ε at δ is the least over
orders. It is never too little, and by some per cent more than by loss distributions.
Sources: Mironov 2017, arXiv:1702.07476; the conversion, Canonne, Kamath, Steinke 2020, Proposition 12,
arXiv:2004.00010.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import assert_never

import numpy as np

from foedus.privacy.distributed.grid import NoisedGrid
from foedus.privacy.distributed.losses import Orders, gaussian_losses, skellam_losses
from foedus.privacy.events import (
    Charge,
    CorrelatedGaussian,
    Distributed,
    DistributedGaussian,
    DistributedSkellam,
    Event,
    Gaussian,
    PoissonGaussian,
    TruncatedPoissonGaussian,
)

_GREATEST_ORDER = 1 << 20


@lru_cache(maxsize=1)
def orders() -> Orders:
    """Return the orders that are tried: dense near 1, whole ones (Skellam's losses are known for no others) up high."""
    fractions = 1 + np.geomspace(1e-3, 30, 400)
    whole = np.unique(np.round(np.geomspace(2, _GREATEST_ORDER, 1500)))
    return np.unique(np.concatenate([fractions, np.arange(2.0, 257.0), whole]))


def is_distributed(event: Event) -> bool:
    """Return whether participants added the noise, so that charges with this one are composed here."""
    return isinstance(event, Distributed)


def losses(event: Event) -> Orders:
    """Return the Rényi divergence of one use, at each of `orders`. Sampling is not counted as protection here."""
    match event:
        case Gaussian(multiplier) | CorrelatedGaussian(multiplier) | PoissonGaussian(multiplier):
            return orders() / (2 * multiplier**2)
        case TruncatedPoissonGaussian(multiplier):
            return orders() / (2 * (multiplier / 2) ** 2)  # one unit may displace another
        case DistributedGaussian():
            return gaussian_losses(grid_of(event), orders())
        case DistributedSkellam():
            return skellam_losses(grid_of(event), orders())
        case _:
            assert_never(event)


def grid_of(event: Distributed) -> NoisedGrid:
    """Return the grid that an event is of."""
    return NoisedGrid(event.noise_multiplier, event.cohort, event.honest, event.bits, event.dimension)


def epsilons(fixed: Sequence[Charge], growing: Event, counts: Sequence[int], delta: float) -> list[float]:
    """Return the ε at `delta` of the fixed charges and so many uses of `growing`, for each of the counts."""
    before = np.zeros_like(orders())
    for event, count in fixed:
        before += count * losses(event)
    each, began = losses(growing), any(count for _, count in fixed)
    return [
        epsilon_of(before + count * each if count else before, delta) if began or count else 0.0 for count in counts
    ]


def epsilon_of(divergences: Orders, delta: float) -> float:
    """Return the least ε at `delta` over the orders: D + log(1 - 1/α) - (log δ + log α) / (α - 1)."""
    alpha = orders()
    figures = divergences + np.log1p(-1 / alpha) - (math.log(delta) + np.log(alpha)) / (alpha - 1)
    return max(0.0, float(np.min(figures)))
