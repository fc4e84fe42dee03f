"""float16 in place of float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foedus.core import trees
from foedus.core.errors import ParticipantError

_CHUNK = 2**18  # values that are worked on at once: they stay in cache
LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Half:
    """values: float16. dtype: of the tensor that it stands for."""

    values: Tensor
    dtype: torch.dtype

    def byte_size(self) -> int:
        """Return two bytes a value."""
        return 2 * self.values.numel()

    def decode(self) -> Tensor:
        """Return the values in the type that they had."""
        return self.values.to(self.dtype)


def half(values: Tensor) -> Half:
    """Round values to float16, and leave the rounding errors in them.

    Relative precision is 2^-11 down to 6e-5, and steps are 6e-8 below.
    Raises: ParticipantError for values beyond float16's range.
    """
    flat = values.view(-1)
    rounded = torch.empty(flat.shape, dtype=torch.float16, device=values.device)
    chunk = _CHUNK if values.device.type == "cpu" else max(1, flat.numel())
    for given, kept in zip(torch.split(flat, chunk), torch.split(rounded, chunk), strict=True):
        kept.copy_(given)
        given.sub_(kept.to(given.dtype))
    if not trees.is_finite({"": flat}):  # a value less infinity
        raise ParticipantError(f"its update holds values over {LARGEST:g}, the largest of fp16; use int8")
    return Half(rounded.view(values.shape), values.dtype)
