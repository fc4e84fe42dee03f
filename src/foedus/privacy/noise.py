"""Gaussian noise on sums, so that what is released shows no single contribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foedus.core.entropy import Entropy
from foedus.core.trees import ParamTree

_CHUNK = 1 << 18  # coordinates that get their noise together, so that no second copy of a model is held
_GRID_BITS = 10


def add_gaussian(total: ParamTree, stddev: float, entropy: Entropy) -> ParamTree:
    """Add independent N(0, stddev^2) to every coordinate of a sum, and round it to `grid(stddev)`.

    total: the sum, not the mean, of contributions that are each bounded; its zeros get noise too. Their order
        does not matter: noise is drawn in the order of names.
    Returns trees of float32 at least. stddev 0 adds nothing and rounds nothing.
    Guarantee: with contributions of a joint L2 norm <= C, the Gaussian mechanism of noise multiplier
        stddev / C, up to the sampler's finite precision. Noise is added in float64 and the lowest digits are
        rounded away, since those of a float Gaussian tell which sums it cannot have been added to.
    Source: McMahan et al. 2018, Algorithm 1, arXiv:1710.06963; for the rounding, Mironov 2012 (CCS),
        "On significance of the least significant bits for differential privacy".
    Raises: ValueError unless stddev is a finite number >= 0.
    """
    _check(stddev)
    noised = dict(_wide(total))
    if stddev > 0:
        for name in sorted(noised):
            noised[name] = _noised(noised[name], stddev, entropy)
    return noised


def add_noise(total: ParamTree, noise: ParamTree, stddev: float) -> ParamTree:
    """Add noise that was made elsewhere to a sum, in float64, and round it to `grid(stddev)`.

    stddev: that of the independent noise which this one was made of.
    Returns and raises as `add_gaussian`.
    """
    _check(stddev)
    wide = _wide(total)
    if stddev == 0:
        return wide
    step = grid(stddev)
    return {
        name: (noise[name].to(_exact_place(tensor), torch.float64) + tensor.to(_exact_place(tensor), torch.float64))
        .mul_(1 / step)
        .round_()
        .mul_(step)
        .to(tensor)
        for name, tensor in wide.items()
    }


def grid(stddev: float) -> float:
    """Return the distance between the values that noise of this size is rounded to: a power of 2.

    It is stddev / 1024 at most, so that rounding adds less than 1e-7 of the noise's variance.

    >>> grid(1.0) == 2**-10
    True
    """
    return math.ldexp(1.0, math.frexp(stddev)[1] - 1 - _GRID_BITS)


def _check(stddev: float) -> None:
    if not (math.isfinite(stddev) and stddev >= 0):
        raise ValueError(f"noise of standard deviation {stddev} was asked for; it must be a finite number >= 0")


def _wide(total: ParamTree) -> ParamTree:
    return {name: tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for name, tensor in total.items()}


def _exact_place(tensor: Tensor) -> torch.device:
    """Return where to add in float64, which Apple's GPUs lack."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device


def _noised(tensor: Tensor, stddev: float, entropy: Entropy) -> Tensor:
    """Return the tensor with noise, in its own type and place."""
    place = _exact_place(tensor)
    chunk = _CHUNK if place.type == "cpu" else 64 * _CHUNK
    step = grid(stddev)
    source = tensor.reshape(-1)
    released = torch.empty_like(source)
    for begin in range(0, source.numel(), chunk):
        exact = source[begin : begin + chunk].to(place, torch.float64)
        noise = entropy.normal(exact.shape, place).to(torch.float64)
        released[begin : begin + chunk] = noise.mul_(stddev).add_(exact).mul_(1 / step).round_().mul_(step)
    return released.view(tensor.shape)
