"""Encoded updates in a message: each encoding by its name in a fixed table, never by one that the sender chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from foedus.compression.blocks import Quantised
from foedus.compression.encoding import EncodedTensor, EncodedTensors
from foedus.compression.half import Half
from foedus.compression.sparse_chunks import SparseChunks
from foedus.compression.top_k import Sparse
from foedus.core.errors import MessageError
from foedus.engines.codec.fields import Incoming, Outgoing, name_of
from foedus.federation.messages import EncodedTree
from foedus.privacy.outbox import DecodedTree


def write_encoded(tree: EncodedTree, out: Outgoing) -> Mapping[str, Any]:
    """Return how an encoded tree stands in a message's head.

    Raises: MessageError if it cannot travel.
    """
    match tree:
        case DecodedTree():
            return {"as": "decoded", "tree": out.tree(tree.tree), "bytes": tree.bytes_sent}
        case EncodedTensors():
            return {"as": "tensors", "tensors": {name: _write(tensor, out) for name, tensor in tree.tensors.items()}}
        case _:
            raise MessageError(f"an update encoded as {type(tree).__name__} cannot be sent; use another compression")


def read_encoded(given: Incoming) -> EncodedTree:
    """Return the encoded tree that a mapping in a message's head stands for; it is checked when it is decoded."""
    match given.text("as"):
        case "decoded":
            return DecodedTree(given.tree("tree"), given.whole("bytes"))
        case "tensors":
            tensors = given.each("tensors", _read)
            values = sum(shape.numel() for shape in (_shape(tensor) for tensor in tensors.values()))
            if values > given.limits.values:
                raise MessageError(f"a message stands for more than {given.limits.values} values")
            return EncodedTensors(tensors)
        case other:
            raise MessageError(f"a message holds an update encoded as {other[:40]!r}; this version knows none such")


def _shape(tensor: EncodedTensor) -> torch.Size:
    if isinstance(tensor, Half):
        return tensor.values.shape
    assert isinstance(tensor, Quantised | Sparse | SparseChunks), "_read makes no others"
    return tensor.shape


def _write(tensor: EncodedTensor, out: Outgoing) -> Mapping[str, Any]:
    match tensor:
        case Half(values, dtype):
            return {"as": "half", "values": out.tensor(values), "dtype": name_of(dtype)}
        case Quantised():
            parts = {"codes": out.tensor(tensor.codes), "scales": out.tensor(tensor.scales)}
            return {"as": "blocks", **parts, "bits": tensor.bits, **_stands_for(tensor)}
        case Sparse():
            parts = {"places": out.tensor(tensor.places), "values": out.tensor(tensor.values)}
            return {"as": "sparse", **parts, **_stands_for(tensor)}
        case SparseChunks():
            parts = {
                "places": out.tensor(tensor.places),
                "codes": out.tensor(tensor.codes),
                "ranges": out.tensor(tensor.ranges),
            }
            return {"as": "chunks", **parts, "fraction": float(tensor.fraction).hex(), **_stands_for(tensor)}
        case _:
            raise MessageError(f"a tensor encoded as {type(tensor).__name__} cannot be sent; use another compression")


def _stands_for(tensor: Quantised | Sparse | SparseChunks) -> Mapping[str, Any]:
    return {"shape": list(tensor.shape), "dtype": name_of(tensor.dtype)}


def _read(given: Incoming) -> EncodedTensor:
    match given.text("as"):
        case "half":
            return Half(_typed(given, "values", torch.float16), given.real_type("dtype"))
        case "blocks":
            bits = given.whole("bits")
            if bits not in (4, 8):
                raise MessageError(f"a message's codes have {bits} bits; allowed are 4 and 8")
            return Quantised(
                _typed(given, "codes", torch.int8),
                _typed(given, "scales", torch.float32),
                4 if bits == 4 else 8,
                given.shape("shape"),
                given.real_type("dtype"),
            )
        case "sparse":
            return Sparse(
                _typed(given, "places", torch.int32),
                _typed(given, "values", torch.float32),
                given.shape("shape"),
                given.real_type("dtype"),
            )
        case "chunks":
            fraction = given.real("fraction")
            if not 0 < fraction <= 1:
                raise MessageError("a message's fraction is not in (0, 1]")
            return SparseChunks(
                _typed(given, "places", torch.int16),
                _typed(given, "codes", torch.uint8),
                _typed(given, "ranges", torch.float32),
                given.shape("shape"),
                given.real_type("dtype"),
                fraction,
            )
        case other:
            raise MessageError(f"a message holds a tensor encoded as {other[:40]!r}; this version knows none such")


def _typed(given: Incoming, key: str, dtype: torch.dtype) -> torch.Tensor:
    tensor = given.tensor(key)
    if tensor.dtype != dtype:
        raise MessageError(f"a message's {key} are of {tensor.dtype}; {dtype} belongs there")
    return tensor
