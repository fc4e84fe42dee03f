from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foedus.compression.blocks import BLOCK, Bits, quantise
from foedus.compression.encoding import Codec
from foedus.compression.feedback import encode
from foedus.compression.half import half
from foedus.compression.top_k import top_k
from foedus.core.trees import ParamTree

BITS = st.sampled_from([8, 4])
VALUES = arrays.arrays(
    "float32", st.integers(0, 2 * BLOCK + 3), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=True)
)


@given(VALUES, BITS)
def test_no_value_moves_by_more_than_half_a_scale(array: object, bits: Bits) -> None:
    values = torch.tensor(array)
    arrived = quantise(values.clone(), bits).decode()
    for start in range(0, len(values), BLOCK):
        block = slice(start, start + BLOCK)
        largest = float(values[block].abs().max())
        bound = largest / (2 * (127 if bits == 8 else 7))
        # the scale is rounded to float32, and below its normal numbers a block is sent as zeros
        assert float((arrived[block] - values[block]).abs().max()) <= bound * (1 + 1e-5) + 127 * 1.2e-38


@given(VALUES, BITS)
def test_quantising_what_arrived_changes_nothing_beyond_rounding(array: object, bits: Bits) -> None:
    arrived = quantise(torch.tensor(array), bits).decode()
    torch.testing.assert_close(quantise(arrived.clone(), bits).decode(), arrived, rtol=1e-5, atol=1e-35)


@given(VALUES, BITS)
def test_signs_are_symmetric(array: object, bits: Bits) -> None:
    values = torch.tensor(array)
    assert torch.equal(quantise(-values, bits).decode(), -quantise(values.clone(), bits).decode())


@given(st.lists(VALUES.filter(len), min_size=1, max_size=5), st.sampled_from(["int8", "int4", "fp16", "top_k"]))
def test_the_residual_telescopes(arrays_: list[object], name: str) -> None:
    codecs: dict[str, Codec] = {
        "int8": lambda v: quantise(v, 8),
        "int4": lambda v: quantise(v, 4),
        "fp16": half,
        "top_k": top_k(0.2),
    }
    first = torch.tensor(arrays_[0])
    deltas = [first * 1e-2 * (number + 1) for number in range(len(arrays_))]
    sent = torch.zeros_like(first)
    residual: ParamTree | None = None
    for delta in deltas:
        encoded, residual = encode({"w": delta}, codecs[name], residual)
        sent = sent + encoded.decode()["w"]
    assert residual is not None
    total = torch.stack(deltas).double().sum(0)
    error = (sent.double() + residual["w"].double() - total).abs().max()
    assert float(error) <= 1e-5 * float(torch.stack(deltas).abs().max()) + 1e-30


@given(VALUES, st.floats(0.01, 1.0))
def test_top_k_keeps_the_largest(array: object, fraction: float) -> None:
    values = torch.tensor(array)
    lost = values.clone()
    encoded = top_k(fraction)(lost)
    assert torch.equal(encoded.decode() + lost, values)
    if encoded.values.numel():
        assert float(lost.abs().max()) <= float(encoded.values.abs().min())
