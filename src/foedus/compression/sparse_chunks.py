"""The largest values of each 4096, in 2 bits each: as in SparseLoCo (arXiv:2508.15706).

A tensor is cut into chunks of 4096 consecutive values; the last one may be shorter. Of each chunk the
largest by magnitude are sent: their places within the chunk in 16 bits, and their values as a sign and
one bit that tells the lower from the upper half of the range of their magnitudes. The range is two
float32 numbers a chunk, and a value arrives as the middle of its half: no magnitude that is sent moves
by more than a quarter of the range.
Bytes: (2 + 1/4) a value sent, + 8/4096 a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from foedus.core.errors import ParticipantError

CHUNK = 4096


@dataclass(frozen=True)
class SparseChunks:
    """A tensor of which each chunk's largest values are kept.

    places: int16, in the chunk. codes: uint8; four values share one.
    ranges: float32, (chunks, 2): least and largest magnitude sent.
    shape, dtype: of the tensor that it stands for. fraction: the share of each chunk that is sent.
    """

    places: Tensor
    codes: Tensor
    ranges: Tensor
    shape: torch.Size
    dtype: torch.dtype
    fraction: float

    def byte_size(self) -> int:
        """Return the bytes of places, codes and ranges."""
        return 2 * self.places.numel() + self.codes.numel() + 4 * self.ranges.numel()

    def decode(self) -> Tensor:
        """Return the whole tensor.

        Raises: ParticipantError if its pieces do not fit together.
        """
        count = math.prod(self.shape)
        sent = sum(rows * kept for _, rows, _, kept in _pieces(count, self.fraction))
        chunks = math.ceil(count / CHUNK)
        given = self.places.numel(), self.codes.numel(), tuple(self.ranges.shape)
        if given != (sent, math.ceil(sent / 4), (chunks, 2)):
            raise ParticipantError(f"its update's places and codes do not fit a tensor of shape {tuple(self.shape)}")
        bits = _unpacked(self.codes)[:sent]
        flat = torch.zeros(count, device=self.places.device)
        used = chunk = 0
        for start, rows, width, kept in _pieces(count, self.fraction):
            places = self.places[used : used + rows * kept].view(rows, kept).long()
            if not 0 <= int(places.min()) <= int(places.max()) < width:
                raise ParticipantError(f"its update holds a place outside a tensor of shape {tuple(self.shape)}")
            own = bits[used : used + rows * kept].view(rows, kept)
            values = _decoded(own, self.ranges[chunk : chunk + rows])
            flat[start : start + rows * width].view(rows, width).scatter_(1, places, values)
            used, chunk = used + rows * kept, chunk + rows
        return flat.to(self.dtype).reshape(self.shape)


def sparse_chunks(fraction: float) -> Callable[[Tensor], SparseChunks]:
    """Return the encoding that sends this share of each chunk's values, one at least."""

    def encode(values: Tensor) -> SparseChunks:
        flat, count = values.view(-1), values.numel()
        places: list[Tensor] = [torch.empty(0, dtype=torch.int16, device=values.device)]
        bits: list[Tensor] = [torch.empty(0, dtype=torch.uint8, device=values.device)]
        ranges: list[Tensor] = [torch.empty(0, 2, device=values.device)]
        for start, rows, width, kept in _pieces(count, fraction):
            piece = flat[start : start + rows * width].view(rows, width)
            where = piece.abs().topk(kept, dim=1, sorted=False).indices
            chosen = piece.gather(1, where).float()
            magnitudes = chosen.abs()
            limits = torch.stack([magnitudes.amin(1), magnitudes.amax(1)], dim=1)
            is_upper = magnitudes * 2 >= limits.sum(1, keepdim=True)
            own = is_upper.to(torch.uint8) + 2 * (chosen < 0).to(torch.uint8)
            piece.scatter_add_(1, where, -_decoded(own, limits).to(piece.dtype))
            places.append(where.to(torch.int16).flatten())
            bits.append(own.flatten())
            ranges.append(limits)
        packed = _packed(torch.cat(bits))
        return SparseChunks(torch.cat(places), packed, torch.cat(ranges), values.shape, values.dtype, fraction)

    return encode


def _pieces(count: int, fraction: float) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, chunks, values a chunk, values sent of each) for the whole chunks, and for the last one."""
    whole, rest = divmod(count, CHUNK)
    if whole:
        yield 0, whole, CHUNK, max(1, round(fraction * CHUNK))
    if rest:
        yield whole * CHUNK, 1, rest, max(1, round(fraction * rest))


def _decoded(bits: Tensor, ranges: Tensor) -> Tensor:
    least, largest = ranges[:, :1], ranges[:, 1:]
    magnitudes = least + (largest - least) * (0.25 + 0.5 * (bits & 1))
    return torch.where(bits >= 2, -magnitudes, magnitudes)


def _packed(bits: Tensor) -> Tensor:
    filled = torch.nn.functional.pad(bits, (0, -bits.numel() % 4)).view(4, -1)
    return filled[0] | (filled[1] << 2) | (filled[2] << 4) | (filled[3] << 6)


def _unpacked(codes: Tensor) -> Tensor:
    return torch.cat([(codes >> shift) & 3 for shift in (0, 2, 4, 6)])
