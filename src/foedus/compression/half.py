"""float16 in place of float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foedus.core.errors import ParticipantError

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
    rounded = values.half()
    if not bool(rounded.isfinite().all()):
        raise ParticipantError(f"its update holds values over {LARGEST:g}, the largest of fp16; use int8")
    values.sub_(rounded)
    return Half(rounded, values.dtype)
