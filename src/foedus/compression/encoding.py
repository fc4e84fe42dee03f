"""What an encoded update is made of, whatever the encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from foedus.core.trees import ParamTree


class EncodedTensor(Protocol):
    """One tensor in fewer bytes."""

    def byte_size(self) -> int:
        """Return the bytes of all that is sent, scales and indices included."""
        ...

    def decode(self) -> Tensor:
        """Return the tensor that it stands for.

        Raises: ParticipantError if its pieces do not fit together.
        """
        ...


class Codec(Protocol):
    """A way to encode tensors."""

    def __call__(self, values: Tensor, /) -> EncodedTensor:
        """Encode finite values of float32 or float64, and leave in them what the encoding lost.

        values: contiguous; afterwards they are values - decoded.
        Raises: ParticipantError if they cannot be encoded.
        """
        ...


@dataclass(frozen=True)
class EncodedTensors:
    """A tree whose tensors are encoded one by one."""

    tensors: Mapping[str, EncodedTensor]

    def byte_size(self) -> int:
        """Return the bytes of all that is sent; names and shapes are framing and not counted."""
        return sum(tensor.byte_size() for tensor in self.tensors.values())

    def decode(self) -> ParamTree:
        """Return the tree that it stands for."""
        return {name: tensor.decode() for name, tensor in self.tensors.items()}
