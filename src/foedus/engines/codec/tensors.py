"""Tensors and a head of JSON as bytes, and back from bytes that nobody has checked.

The layout is that of a safetensors file: the length of a JSON header, the header, the values. The head stands in its
metadata, and tensors are called by number. Nothing is pickled; a tensor that is read lies in the bytes that came.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foedus.core.errors import MessageError

MAX_HEADER_BYTES = 1 << 24
MAX_TENSORS = 1 << 17
MAX_DIMENSIONS = 16
_ALIGNMENT = 64
_LENGTH_BYTES = 8
_HEAD = "foedus"
_TYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}

Piece = bytes | memoryview


@dataclass(frozen=True)
class Limits:
    """How much another party may make this one hold: bytes of a message, and values that it stands for when decoded."""

    message_bytes: int = 1 << 36
    values: int = 1 << 34


def pack(head: Mapping[str, Any], tensors: Sequence[Tensor]) -> list[Piece]:
    """Return the pieces of a message, in order; the values are not copied if they lie on the CPU in one piece.

    Raises: MessageError if a tensor's type cannot travel.
    """
    described: dict[str, Any] = {"__metadata__": {_HEAD: json.dumps(head, allow_nan=False)}}
    values: list[Piece] = []
    at = 0
    # larger types first, so that every tensor lies where its type may lie
    for number in sorted(range(len(tensors)), key=lambda n: -tensors[n].element_size()):
        tensor = tensors[number].detach().cpu().contiguous()
        if tensor.dtype not in _NAMES:
            raise MessageError(f"a tensor of type {tensor.dtype} was to be sent; it must be of {', '.join(_TYPES)}")
        size = tensor.numel() * tensor.element_size()
        described[str(number)] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + size],
        }
        at += size
        if size:
            values.append(tensor.reshape(-1).view(torch.uint8).numpy().data)
    header = json.dumps(described).encode()
    header += b" " * (-(_LENGTH_BYTES + len(header)) % _ALIGNMENT)
    if len(header) > MAX_HEADER_BYTES:
        raise MessageError(f"a message's header has {len(header)} bytes; at most {MAX_HEADER_BYTES} are allowed")
    return [len(header).to_bytes(_LENGTH_BYTES, "little") + header, *values]


def unpack(data: bytearray, limits: Limits) -> tuple[Mapping[str, Any], list[Tensor]]:
    """Return a message's head and its tensors, which lie in `data`.

    Raises: MessageError for bytes that `pack` could not have written, or too many of them.
    """
    if len(data) > limits.message_bytes:
        raise MessageError(f"a message has {len(data)} bytes; at most {limits.message_bytes} are allowed")
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + size
    if len(data) < _LENGTH_BYTES or size > MAX_HEADER_BYTES or start > len(data):
        raise MessageError("a message is cut short, or its header too long")
    described = _json(bytes(memoryview(data)[_LENGTH_BYTES:start]))
    if not isinstance(described, dict) or len(described) > MAX_TENSORS:
        raise MessageError("a message's header is no list of tensors, or a too long one")
    metadata = described.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.keys() != {_HEAD} or not isinstance(metadata[_HEAD], str):
        raise MessageError("a message has no head")
    head = _json(metadata[_HEAD].encode())
    if not isinstance(head, dict):
        raise MessageError("a message's head is no mapping")
    return head, _tensors(described, data, start)


def _tensors(described: Mapping[str, Any], data: bytearray, start: int) -> list[Tensor]:
    numbers = [str(number) for number in range(len(described))]
    if set(numbers) != described.keys():
        raise MessageError("a message's tensors are not numbered")
    tensors = []
    spans = []
    for number in numbers:
        dtype, shape, begin, end = _described(described[number])
        if end > len(data) - start or end - begin != math.prod(shape) * dtype.itemsize:
            raise MessageError("a message's tensor does not have the bytes that its shape needs")
        spans.append((begin, end))
        count = math.prod(shape)
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=start + begin) if count else torch.empty(0)
        tensors.append(flat.to(dtype).reshape(shape))
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise MessageError("a message's tensors overlap, or leave bytes out")
        at = end
    if at != len(data) - start:
        raise MessageError("a message has bytes that belong to no tensor")
    _require_booleans(tensors)
    return tensors


def _described(entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise MessageError("a message's tensor is not described by type, shape and place")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise MessageError("a message's tensor is of an unknown type")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS or not _are_sizes(offsets) or len(offsets) != 2:
        raise MessageError("a message's tensor has a shape or a place that is none")
    return _TYPES[dtype], shape, offsets[0], offsets[1]


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 48 for value in values)


def _require_booleans(tensors: Sequence[Tensor]) -> None:
    """Refuse booleans that are neither 0 nor 1: what these do is undefined."""
    for tensor in tensors:
        if tensor.dtype == torch.bool and tensor.numel() and int(tensor.view(torch.uint8).max()) > 1:
            raise MessageError("a message's booleans are neither true nor false")


def _json(text: bytes) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise MessageError("a message's header is no JSON") from None
