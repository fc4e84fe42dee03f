"""What one round of distributed noise costs, as Rényi divergence of each order.

Neighbours: all that one participant uploads is replaced by zeros ("zero-out"); it still adds its noise. Who takes part
is no secret. The noise that counts is that of `honest` participants; more of it only helps.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from foedus.privacy.distributed.grid import NoisedGrid

Orders = NDArray[np.float64]
_LEAST_STDDEV = 0.5  # under it a sum of discrete Gaussians may be far from one


def gaussian_losses(grid: NoisedGrid, orders: Orders) -> Orders:
    """Return what one upload costs under the noise of `honest` discrete Gaussians, at each order."""
    return gaussian_divergences(grid.largest_squared_norm, grid.stddev, grid.honest, grid.dimension, orders)


def skellam_losses(grid: NoisedGrid, orders: Orders) -> Orders:
    """Return what one upload costs under the noise of `honest` Skellam variables, which add up to one of them."""
    return skellam_divergences(grid.largest_squared_norm, grid.honest * grid.stddev**2, grid.dimension, orders)


def gaussian_divergences(squared_norm: float, stddev: float, count: int, dimension: int, orders: Orders) -> Orders:
    """Return a bound on the Rényi divergence of a sum of discrete Gaussians from itself, shifted by a whole vector.

    squared_norm: of the shift Δ. stddev: of one of the summands, s; count: how many, n; dimension: D.
    A sum of discrete Gaussians is nearly one: the logarithm of the ratio of their probabilities is at most τ/2 at each
    point. The lesser of two bounds: that error, at each of D coordinates, added to the divergence of one discrete
    Gaussian, τ D (2α - 1) / (2 (α - 1)) + α Δ² / (2 n s²); or to the root of its concentrated form,
    (Δ / (√n s) + √D τ)² α / 2.
    Infinite under a standard deviation of a half.
    Source: Kairouz, Liu, Steinke 2021, Corollary 12 and Proposition 13, arXiv:2102.06387; the first bound's factor
        of τ D is derived from pointwise ratios, and so holds for every order.
    """
    if stddev < _LEAST_STDDEV:
        return np.full_like(orders, math.inf)
    ratio, tau = squared_norm / (count * stddev**2), convolution_error(stddev, count)
    added = orders * ratio / 2 + tau * dimension * (2 * orders - 1) / (2 * (orders - 1))
    rooted = orders / 2 * (math.sqrt(ratio) + math.sqrt(dimension) * tau) ** 2
    return np.minimum(added, rooted)


def convolution_error(stddev: float, count: int) -> float:
    """Return τ: twice the bound on the logarithm of the ratio between a sum of discrete Gaussians and one of them."""
    exponents = [2 * math.pi**2 * stddev**2 * k / (k + 1) for k in range(1, count)]
    return 10 * math.fsum(math.exp(-exponent) for exponent in exponents)


def skellam_divergences(squared_norm: float, variance: float, dimension: int, orders: Orders) -> Orders:
    """Return a bound on the Rényi divergence of Skellam noise from itself, shifted by a whole vector.

    Known for whole orders; infinite for others. With variance μ and the shift's norms Δ₂ and Δ₁,
    α Δ₂² / (2 μ) + min{((2α - 1) Δ₂² + 6 Δ₁) / (4 μ²), 3 Δ₁ / (2 μ)}; Δ₁ of whole numbers is at most Δ₂², and at
    most √D Δ₂.
    Source: Agarwal, Kairouz, Liu 2021, Theorem 3.5, arXiv:2110.04995.
    """
    longest = min(squared_norm, math.sqrt(dimension * squared_norm))
    far = ((2 * orders - 1) * squared_norm + 6 * longest) / (4 * variance**2)
    bound = orders * squared_norm / (2 * variance) + np.minimum(far, 3 * longest / (2 * variance))
    whole = (orders == np.floor(orders)) & (orders >= 2)
    return np.where(whole, bound, math.inf)


def concentration(grid: NoisedGrid) -> float:
    """Return ρ of a sum of discrete Gaussians: its losses are at most ρ times the order.

    A trusted coordinator's Gaussian of the same multiplier z has 1 / (2 z²).
    """
    root = math.sqrt(grid.largest_squared_norm / (grid.honest * grid.stddev**2))
    return (root + math.sqrt(grid.dimension) * convolution_error(grid.stddev, grid.honest)) ** 2 / 2
