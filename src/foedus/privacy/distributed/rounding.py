"""Stochastic rounding to whole numbers that is repeated until the result is short enough.

Rounding up or down by chance keeps the mean; a long result, which would cost privacy, is thrown away and drawn anew.
The bound holds for the rounded numbers themselves, in exact arithmetic, whatever was rounded before.
Source: Kairouz, Liu, Steinke 2021, section 4.2, arXiv:2102.06387.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foedus.core.entropy import Entropy
from foedus.core.errors import ParticipantError

_CHUNK = 1 << 16
# Within the clip the first try is taken with a chance of 1 - e^(-1/2) or more; so many fail once in 10^26.
MOST_TRIES = 64


def round_within(vector: Tensor, scale: float, largest_squared_norm: int, entropy: Entropy) -> NDArray[np.int32]:
    """Return scale * vector, each coordinate rounded up or down by chance, with a squared norm within the bound.

    Raises: ParticipantError if no rounding is short enough: the vector was too long.
    """
    rounded = np.empty(len(vector), dtype=np.int32)
    for _ in range(MOST_TRIES):
        squared = 0.0
        for begin in range(0, len(vector), _CHUNK):
            piece = vector[begin : begin + _CHUNK].to(torch.float64) * scale
            whole = piece.add_(_uniform(len(piece), entropy)).floor_()
            squared += float(torch.dot(whole, whole))  # exact, being a sum of whole numbers below 2^53
            if not squared <= largest_squared_norm:
                break
            rounded[begin : begin + _CHUNK] = whole.numpy()
        if squared <= largest_squared_norm:
            return rounded
    raise ParticipantError("its update is longer than the clipping norm, so that no rounding of it is short enough")


def _uniform(count: int, entropy: Entropy) -> Tensor:
    """Return float64 numbers in [0, 1), odd multiples of 2^-33."""
    words = torch.frombuffer(entropy.draw(4 * count), dtype=torch.int32).to(torch.float64)
    return words.add_(0.5).mul_(2.0**-32).add_(0.5)
