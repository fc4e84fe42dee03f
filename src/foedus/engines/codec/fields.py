"""Takes values out of a message's head, and refuses what is not of the type that belongs there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from foedus.core.errors import MessageError
from foedus.core.trees import ParamTree
from foedus.engines.codec.tensors import Limits
from foedus.federation.messages import Trees

T = TypeVar("T")

_REALS = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in _REALS.items()}


@dataclass
class Outgoing:
    """Collects a message's tensors; in the head they stand as numbers."""

    tensors: list[Tensor] = field(default_factory=list)

    def tensor(self, value: Tensor) -> int:
        """Return the number that stands for a tensor."""
        self.tensors.append(value)
        return len(self.tensors) - 1

    def raw(self, message: bytes | memoryview) -> int:
        """Return the number that stands for a string of bytes, as a tensor of them."""
        held = message if isinstance(message, memoryview) and not message.readonly else bytearray(message)
        return self.tensor(
            torch.frombuffer(held, dtype=torch.uint8) if len(held) else torch.empty(0, dtype=torch.uint8)
        )

    def tree(self, tree: ParamTree) -> dict[str, int]:
        """Return a tree of such numbers."""
        return {name: self.tensor(value) for name, value in tree.items()}

    def trees(self, trees: Trees) -> dict[str, dict[str, int]]:
        """Return named trees of such numbers."""
        return {name: self.tree(tree) for name, tree in trees.items()}


def name_of(dtype: torch.dtype) -> str:
    """Return how a type is written.

    Raises: MessageError if it is none that an encoded tensor may stand for.
    """
    if dtype not in _NAMES:
        raise MessageError(f"an encoded tensor stands for one of type {dtype}; it must be of {', '.join(_REALS)}")
    return _NAMES[dtype]


@dataclass
class Incoming:
    """A message's head, and the tensors that its numbers stand for. Every method raises MessageError."""

    head: Mapping[str, Any]
    tensors: Sequence[Tensor]
    limits: Limits

    def within(self, head: Any) -> Incoming:
        """Return the same for a mapping inside the head."""
        if not isinstance(head, dict):
            raise MessageError("a message lacks a mapping where one belongs")
        return Incoming(head, self.tensors, self.limits)

    def get(self, key: str) -> Any:
        """Return what stands there."""
        if key not in self.head:
            raise MessageError(f"a message lacks its {key}")
        return self.head[key]

    def _of(self, key: str, kind: type[T]) -> T:
        value = self.get(key)
        if type(value) is not kind:
            raise MessageError(f"a message's {key} is no {kind.__name__}")
        return value

    def text(self, key: str) -> str:
        """Return a text."""
        return self._of(key, str)

    def truth(self, key: str) -> bool:
        """Return true or false."""
        return self._of(key, bool)

    def whole(self, key: str, most: int = 1 << 53) -> int:
        """Return a whole number from 0 to `most`."""
        value = self._of(key, int)
        if not 0 <= value <= most:
            raise MessageError(f"a message's {key} is {value}; allowed is 0 to {most}")
        return value

    def real(self, key: str) -> float:
        """Return a number; it travels as text that has NaN and infinity, which others must judge."""
        return _real(self._of(key, str), key)

    def reals(self, key: str) -> dict[str, float]:
        """Return named numbers."""
        return {name: _real(value, key) for name, value in self._of(key, dict).items()}

    def wholes(self, key: str) -> dict[str, int]:
        """Return named whole numbers."""
        given = self._of(key, dict)
        return {name: self.within(given).whole(name) for name in given}

    def tensor(self, key: str) -> Tensor:
        """Return the tensor that a number stands for."""
        return self._tensor(self.get(key))

    def view(self, key: str) -> memoryview:
        """Return a string of bytes where it lies."""
        tensor = self.tensor(key)
        if tensor.dtype != torch.uint8 or tensor.dim() != 1:
            raise MessageError(f"a message's {key} is no string of bytes")
        return tensor.numpy().data

    def _tensor(self, number: Any) -> Tensor:
        if type(number) is not int or not 0 <= number < len(self.tensors):
            raise MessageError("a message names a tensor that it does not hold")
        return self.tensors[number]

    def tree(self, key: str) -> ParamTree:
        """Return a tree."""
        return {name: self._tensor(number) for name, number in self._of(key, dict).items()}

    def trees(self, key: str) -> Trees:
        """Return named trees."""
        given = self._of(key, dict)
        return {name: self.within(given).tree(name) for name in given}

    def each(self, key: str, read: Callable[[Incoming], T]) -> dict[str, T]:
        """Return what `read` makes of each mapping in a mapping."""
        return {name: read(self.within(value)) for name, value in self._of(key, dict).items()}

    def shape(self, key: str) -> torch.Size:
        """Return a shape of no more values than are allowed."""
        sizes = self._of(key, list)
        if len(sizes) > 16 or not all(type(size) is int and size >= 0 for size in sizes):
            raise MessageError(f"a message's {key} is no shape")
        if math.prod(sizes) > self.limits.values:
            raise MessageError(f"a message stands for more than {self.limits.values} values")
        return torch.Size(sizes)

    def real_type(self, key: str) -> torch.dtype:
        """Return the type of an encoded tensor."""
        name = self.text(key)
        if name not in _REALS:
            raise MessageError(f"a message's {key} is no type of numbers")
        return _REALS[name]


def _real(value: Any, key: str) -> float:
    try:
        return float.fromhex(value)
    except (ValueError, TypeError, OverflowError):
        raise MessageError(f"a message's {key} is no number") from None
