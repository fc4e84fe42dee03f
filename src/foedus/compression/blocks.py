"""8- and 4-bit integers with one scale for each block of 256 values.

A tensor is cut into blocks of 256 consecutive values; the last one may be shorter. A block's scale is
its largest magnitude / 127 (8 bits) or / 7 (4 bits), in float32, and a value is sent as
round(value / scale): a symmetric grid of 255 or 15 levels with 0 among them. So no value moves by more
than half a scale. A scale below float32's normal numbers is sent as 0, and its block as zeros.
Of 4-bit codes two share a byte: the low half holds one of the first half of its block, the high half
its counterpart of the second half; a last block of odd length is filled up with a 0.
Bytes: 1 + 4/256 a value, or 1/2 + 4/256.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from foedus.core.errors import ParticipantError

Bits = Literal[4, 8]
BLOCK = 256
# Blocks that are worked on at once. On a CPU their values, and the steps between, stay in cache; an
# accelerator wants much work at a time, and this many bound what the steps between take.
_CHUNK = 1024
_CHUNK_ON_ACCELERATORS = 2**17
_LEVELS: dict[Bits, int] = {8: 127, 4: 7}
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Quantised:
    """A tensor as integers.

    codes: int8; one code an element, or two.
    scales: float32, one a block.
    shape, dtype: of the tensor that it stands for.
    """

    codes: Tensor
    scales: Tensor
    bits: Bits
    shape: torch.Size
    dtype: torch.dtype

    def byte_size(self) -> int:
        """Return the bytes of codes and scales."""
        return self.codes.numel() + 4 * self.scales.numel()

    def decode(self) -> Tensor:
        """Return code * scale for every value, computed in float32.

        Raises: ParticipantError if there are too many or too few codes or scales.
        """
        count = math.prod(self.shape)
        if (self.codes.numel(), self.scales.numel()) != (_code_count(count, self.bits), math.ceil(count / BLOCK)):
            raise ParticipantError(f"its update's codes and scales do not fit a tensor of shape {tuple(self.shape)}")
        values = torch.empty(count, dtype=torch.float32, device=self.codes.device)
        for rows, codes, scales in _pieces(values, self.codes, self.scales, self.bits):
            rows.copy_(_unpacked(codes, rows.shape[1]) if self.bits == 4 else codes).mul_(scales)
        return values.to(self.dtype).reshape(self.shape)


def quantise(values: Tensor, bits: Bits) -> Quantised:
    """Round values to the grid, and leave in them what that lost.

    values: contiguous and finite, of float32 or float64.
    """
    assert values.is_contiguous()
    flat = values.view(-1)
    codes = torch.empty(_code_count(flat.numel(), bits), dtype=torch.int8, device=values.device)
    scales = torch.empty(math.ceil(flat.numel() / BLOCK), dtype=torch.float32, device=values.device)
    for rows, row_codes, row_scales in _pieces(flat, codes, scales, bits):
        largest = rows.abs().amax(dim=1, keepdim=True)
        row_scales.copy_(largest / _LEVELS[bits])
        row_scales.masked_fill_(row_scales < _SMALLEST_SCALE, 0.0)
        # 0 in place of 1 / 0: such a block is sent as zeros
        inverse = row_scales.reciprocal().masked_fill_(row_scales == 0, 0.0)
        grid = (rows * inverse).round_()
        row_codes.copy_(_packed(grid.to(torch.int8)) if bits == 4 else grid)
        rows.sub_(grid.float().mul_(row_scales))
    return Quantised(codes, scales, bits, values.shape, values.dtype)


int8 = partial(quantise, bits=8)
int4 = partial(quantise, bits=4)


def _code_count(values: int, bits: Bits) -> int:
    return values if bits == 8 else (values + 1) // 2


def _pieces(flat: Tensor, codes: Tensor, scales: Tensor, bits: Bits) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield views of some blocks at a time: (blocks, values), (blocks, codes), (blocks, 1)."""
    whole = flat.numel() // BLOCK
    width = BLOCK * bits // 8
    chunk = _CHUNK if flat.device.type == "cpu" else _CHUNK_ON_ACCELERATORS
    for start in range(0, whole, chunk):
        stop = min(start + chunk, whole)
        yield (
            flat[start * BLOCK : stop * BLOCK].view(-1, BLOCK),
            codes[start * width : stop * width].view(-1, width),
            scales[start:stop].view(-1, 1),
        )
    if flat.numel() % BLOCK:
        yield flat[whole * BLOCK :].view(1, -1), codes[whole * width :].view(1, -1), scales[whole:].view(1, 1)


def _packed(codes: Tensor) -> Tensor:
    """Return rows of 4-bit codes, two a byte."""
    half = (codes.shape[1] + 1) // 2
    low = codes[:, :half] & 15
    high = torch.nn.functional.pad(codes[:, half:], (0, half * 2 - codes.shape[1]))
    return low.bitwise_or_(high << 4)


def _unpacked(codes: Tensor, width: int) -> Tensor:
    """Return rows of `width` codes that were packed; shifts of int8 keep the sign."""
    return torch.cat([(codes << 4) >> 4, codes >> 4], dim=1)[:, :width]
