"""Only the largest values of each tensor, with their places.

Without error feedback the rest would be lost for good. Each participant chooses its own places, so
that such updates can be summed in the clear only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foedus.core.errors import ParticipantError


@dataclass(frozen=True)
class Sparse:
    """A tensor that is zero but in some places.

    places: int32 indices into the flat tensor. values: float32.
    shape, dtype: of the tensor that it stands for.
    """

    places: Tensor
    values: Tensor
    shape: torch.Size
    dtype: torch.dtype

    def byte_size(self) -> int:
        """Return eight bytes a value: four for itself and four for its place."""
        return 4 * self.places.numel() + 4 * self.values.numel()

    def decode(self) -> Tensor:
        """Return the whole tensor.

        Raises: ParticipantError if a place is outside the tensor, or values and places differ in number.
        """
        count = math.prod(self.shape)
        if self.places.shape != self.values.shape or self.places.numel() > count:
            raise ParticipantError(f"its update's values do not fit a tensor of shape {tuple(self.shape)}")
        if self.places.numel() and not 0 <= int(self.places.min()) <= int(self.places.max()) < count:
            raise ParticipantError(f"its update holds a place outside a tensor of shape {tuple(self.shape)}")
        flat = torch.zeros(count, dtype=self.dtype, device=self.values.device)
        return flat.index_copy_(0, self.places.long(), self.values.to(self.dtype)).reshape(self.shape)


def top_k(fraction: float) -> Callable[[Tensor], Sparse]:
    """Return the encoding that keeps this share of each tensor's values, one at least."""

    def encode(values: Tensor) -> Sparse:
        flat = values.view(-1)
        kept = min(flat.numel(), max(1, round(fraction * flat.numel())))
        places = flat.abs().topk(kept, sorted=False).indices
        chosen = flat[places].float()
        flat.index_add_(0, places, chosen.to(flat.dtype), alpha=-1)
        return Sparse(places.int(), chosen, values.shape, values.dtype)

    return encode
