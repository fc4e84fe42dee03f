"""Parameters of buffered noise that suit a run's rounds and participation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foedus.core.errors import ConfigError, MissingExtra
from foedus.privacy.factors import BufferedToeplitz, running_sum_error, sensitivity
from foedus.privacy.stored_results import stored_or_computed


def fitted_buffers(rounds: int, min_separation: int, max_participations: int, buffers: int = 2) -> BufferedToeplitz:
    """Return the buffers with the least mean squared error of running sums at equal ε, near a local optimum.

    The sum of the scales is kept under 1, so that c never rises. More than 2 or 3 buffers help only where a
    participant comes back after hundreds of rounds. Kept in the user's cache folder; a run writes down the
    numbers, since another version of scipy may find others.
    Source: McMahan et al. 2024, arXiv:2408.08868, who minimise the same by gradient descent.
    Raises: ConfigError for fewer than 1 buffer; MissingExtra without scipy.
    """
    if buffers < 1:
        raise ConfigError(f"correlated noise: {buffers} buffers; use at least 1, of which 2 are enough for most runs")
    inputs = {
        "figures": "fitted_buffers",
        "rounds": rounds,
        "min_separation": min_separation,
        "max_participations": max_participations,
        "buffers": buffers,
    }
    found = stored_or_computed(inputs, lambda: _fit(rounds, min_separation, max_participations, buffers))
    return BufferedToeplitz(tuple(found[:buffers]), tuple(found[buffers:]))


def _fit(rounds: int, min_separation: int, max_participations: int, buffers: int) -> list[float]:
    """Return scales, then decays."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtra(
            "fitting buffers for correlated noise needs scipy; install it with: pip install 'foedus[privacy]', "
            "or use banded noise"
        ) from error

    def loss(point: NDArray[np.float64]) -> float:
        factor = _factor(point, buffers)
        spread = sensitivity(factor, rounds, min_separation, max_participations)
        return float(np.log(running_sum_error(factor, rounds) * spread))

    horizons = np.geomspace(1, max(2 * min_separation, 4), buffers)  # rounds after which a buffer has faded
    start = np.concatenate([-np.log(np.expm1(1 / horizons)), np.zeros(buffers + 1)])
    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 200})
    factor = _factor(found.x, buffers)
    return [*factor.scales, *factor.decays]


def _factor(point: NDArray[np.float64], buffers: int) -> BufferedToeplitz:
    """Return the buffers of a point in unbounded space. Shape: (2 buffers + 1,)."""
    decays = _sigmoid(point[:buffers])
    shares = np.exp(point[buffers:-1] - point[buffers:-1].max())
    scales = shares / shares.sum() * _sigmoid(point[-1:]) * (1 - 1e-9)
    return BufferedToeplitz(tuple(scales.tolist()), tuple(decays.tolist()))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))
