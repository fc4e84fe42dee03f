"""A public random rotation: it spreads a vector evenly over all coordinates, so that a sum needs few bits for each.

Random signs, then an orthonormal matrix whose entries are all small: H ⊗ Q, a Walsh–Hadamard matrix of a power of 2
times a Hartley matrix of an odd number below 16, which keeps the padding under an eighth. Privacy does not rest on
it: what is rounded afterwards is bounded as it is. Signs and matrix are known to everyone.
Source: Kairouz, Liu, Steinke 2021, section 4.1, arXiv:2102.06387; Hartley matrices, Bracewell 1983.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from foedus.core.entropy import Entropy
from foedus.core.seeds import SeedKey

_MOST_COPIES = 16  # a vector is cut into fewer pieces than this, so less than an eighth is padding
_LOG2_TOGETHER = 6  # binary digits that one small dense Hadamard matrix transforms at once: the fastest measured


def padded_length(length: int) -> int:
    """Return the least p · 2^m >= length with p < 16.

    >>> padded_length(5), padded_length(17), padded_length(200_000), padded_length(22_000_000) / 2**21
    (5, 18, 212992, 11.0)
    """
    assert length > 0, "there is something to send"
    power = 1 << max(0, length.bit_length() - _MOST_COPIES.bit_length() + 1)
    return -(-length // power) * power


def odd_part(length: int) -> int:
    """Return a length without its powers of 2.

    >>> odd_part(212992), odd_part(1 << 20)
    (13, 1)
    """
    return length // (length & -length)


def spread(length: int) -> float:
    """Return how far the matrix of this length is from flat: its largest squared entry times the length, in [1, 2].

    A rotated coordinate of a vector of norm C is subgaussian with variance at most spread · C² / length.
    """
    odd = odd_part(length)
    return float(odd * (_hartley(odd, torch.float64) ** 2).max())


@dataclass(frozen=True)
class Rotation:
    """The rotation of one round. length: of what is rotated, before padding. key: the round's, known to everyone."""

    length: int
    key: SeedKey

    @property
    def padded(self) -> int:
        """How many coordinates there are afterwards."""
        return padded_length(self.length)

    def rotate(self, vector: Tensor) -> Tensor:
        """Return the vector, padded with zeros and rotated. Shape: (length,) to (padded,), of the same type."""
        signed = torch.zeros(self.padded, dtype=vector.dtype)
        torch.mul(vector, self._signs(vector.dtype)[: self.length], out=signed[: self.length])
        return _transformed(signed)

    def unrotate(self, rotated: Tensor) -> Tensor:
        """Return what was rotated. Shape: (padded,) to (length,)."""
        return _transformed(rotated)[: self.length].mul_(self._signs(rotated.dtype)[: self.length])

    def _signs(self, dtype: torch.dtype) -> Tensor:
        """Return one of 1 and -1 for each coordinate, the same for whoever knows the key."""
        drawn = np.frombuffer(Entropy.reproducible_from(self.key).draw(-(-self.length // 8)), dtype=np.uint8)
        bits = torch.from_numpy(np.unpackbits(drawn, count=self.length))
        return bits.to(dtype).mul_(-2).add_(1)


def _transformed(vector: Tensor) -> Tensor:
    """Return the vector times H ⊗ Q, which is symmetric and its own inverse."""
    odd = odd_part(len(vector))
    power, inner = len(vector) // odd, 1
    while inner < power:
        size = min(1 << _LOG2_TOGETHER, power // inner)
        matrix = _hadamard(size, vector.dtype)
        if inner == 1:
            vector = (vector.view(-1, size) @ matrix).view(-1)
        else:
            vector = torch.matmul(matrix, vector.view(-1, size, inner)).view(-1)
        inner *= size
    return (_hartley(odd, vector.dtype) @ vector.view(odd, power)).view(-1) if odd > 1 else vector


@lru_cache(maxsize=16)
def _hadamard(size: int, dtype: torch.dtype) -> Tensor:
    """Return the orthonormal Walsh–Hadamard matrix of a power of 2, in natural order."""
    matrix = torch.ones(1, 1, dtype=dtype)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


@lru_cache(maxsize=32)
def _hartley(size: int, dtype: torch.dtype) -> Tensor:
    """Return the orthonormal discrete Hartley matrix: cos + sin of 2 π j k / size, over the root of size."""
    places = torch.arange(size, dtype=torch.float64)
    angles = 2 * math.pi / size * torch.outer(places, places)
    return ((angles.cos() + angles.sin()) / math.sqrt(size)).to(dtype)
