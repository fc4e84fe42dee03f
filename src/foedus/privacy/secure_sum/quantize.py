"""A common integer grid: numbers become words whose sum, modulo the word's size, is the sum of the numbers.

All participants use one grid, so sums are exact on it: the error of a sum is that of its parts' rounding.
The grid follows from how large a value may be and how many there may be, so that no sum can overflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.masks import WIDTHS, Words, word_type

Rounding = Literal["nearest", "stochastic"]

_FLOAT64_DIGITS = 52
_NARROW = 16
_CHUNK = 1 << 15  # values that are rounded together: their float64 copies stay in the processor's cache


@dataclass(frozen=True)
class Grid:
    """Multiples of a step, in [-limit, limit], whose sum over so many participants fits a word.

    limit: values beyond it are clipped. participants: the most that may be summed. width: bits of a word.
    whole: the step is 1, for counts. sum_bits: of them, how many a sum may take; all unless told.
    """

    limit: float
    participants: int
    width: int
    whole: bool = False
    sum_bits: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise SecureSumError(f"a grid's limit is {self.limit}; it must be a positive number")
        if self.width not in WIDTHS or self.participants < 1:
            raise SecureSumError(f"a grid has words of {self.width} bits for {self.participants} participants")
        if self.sum_bits is not None and not 2 <= self.sum_bits <= self.width:
            raise SecureSumError(
                f"a grid's sums have {self.sum_bits} bits of {self.width}; use 2 at least, all at most"
            )
        if self._levels_allowed < 1 or (self.whole and self._levels_allowed < self.limit):
            raise SecureSumError(
                f"the sum of {self.participants} values up to {self.limit:g} does not fit {self.width} bits; "
                "use wider words"
            )

    @property
    def _levels_allowed(self) -> int:
        """How many steps a value may lie from 0: a sum stays inside the word, a value inside float64's digits."""
        return min(((1 << ((self.sum_bits or self.width) - 1)) - 1) // self.participants, 1 << _FLOAT64_DIGITS)

    @property
    def step(self) -> float:
        """The distance of two neighbours: a power of two, so that multiplying by it rounds nothing.

        Words of 16 bits or fewer have no levels to give away for that.
        """
        if self.whole:
            return 1.0
        exact = self.limit / self._levels_allowed
        if self.width <= _NARROW:
            return exact
        mantissa, exponent = math.frexp(exact)
        return math.ldexp(1.0, exponent - 1 if mantissa == 0.5 else exponent)

    @property
    def levels(self) -> int:
        """How many steps a value may lie from 0."""
        if self.width <= _NARROW and not self.whole:
            return self._levels_allowed
        return min(self._levels_allowed, math.floor(self.limit / self.step))

    def error_of_sum(self, rounding: Rounding) -> float:
        """Return how far a sum over all participants may lie from the true one, if nothing was clipped."""
        return self.participants * self.step * (0.5 if rounding == "nearest" else 1.0)

    def describe(self) -> bytes:
        """Return canonical bytes, for the digest of settings that participants sign."""
        return f"grid {self.limit.hex()} {self.participants} {self.width} {self.whole} {self.sum_bits}".encode()


def quantize(
    values: Tensor,
    grid: Grid,
    out: Words,
    *,
    scale: float = 1.0,
    rounding: Rounding = "nearest",
    entropy: Entropy | None = None,
) -> int:
    """Write scale * values, rounded to the grid, into words; return how many were clipped.

    values: any shape, floating point, finite. out: as many words of the grid's width, one axis.
    rounding: "nearest", ties to even; or "stochastic", up or down by chance so that the mean is the value,
        which needs entropy. The product and the rounding are computed in float64.
    Raises: SecureSumError for NaN, and if stochastic rounding has no entropy.
    """
    if rounding == "stochastic" and entropy is None:
        raise SecureSumError("stochastic rounding needs entropy; pass it, or round to nearest")
    if out.dtype != word_type(grid.width) or len(out) != values.numel():
        raise SecureSumError("the words to write to have another width or number than the values")
    flat = values.detach().reshape(-1)
    signed = torch.from_numpy(out.view(f"<i{grid.width // 8}"))
    factor, levels, clipped = scale / grid.step, float(grid.levels), 0
    for begin in range(0, len(flat), _CHUNK):
        piece = flat[begin : begin + _CHUNK].to(device="cpu", dtype=torch.float64) * factor
        if entropy is not None and rounding == "stochastic":
            piece.add_(_uniform(len(piece), entropy)).floor_()
        else:
            piece.round_()
        low, high = (float(bound) for bound in torch.aminmax(piece))
        if not (low >= -levels and high <= levels):
            if math.isnan(low) or math.isnan(high):
                raise SecureSumError("a value to be summed is NaN; nothing can be sent")
            clipped += int((piece.abs() > levels).sum())
            piece.clamp_(-levels, levels)
        signed[begin : begin + _CHUNK] = piece.to(signed.dtype)
    return clipped


def _uniform(count: int, entropy: Entropy) -> Tensor:
    """Return float64 numbers in [0, 1), multiples of 2^-32."""
    words = torch.frombuffer(entropy.draw(4 * count), dtype=torch.int32).to(torch.float64)
    return words.mul_(2.0**-32).add_(0.5)


def restore(words: Words, grid: Grid) -> Tensor:
    """Return the numbers that a sum of words stands for, float64, one axis."""
    signed: NDArray[Any] = words.view(f"<i{grid.width // 8}")
    return torch.from_numpy(signed.astype(np.float64) * grid.step)
