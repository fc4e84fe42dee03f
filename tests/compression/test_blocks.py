from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from foedus.compression.blocks import BLOCK, Bits, quantise
from foedus.core.errors import ParticipantError

LEVELS: dict[Bits, int] = {8: 127, 4: 7}
# One value, less than a block, odd, one block, one more, many pieces, none.
SHAPES = [(), (1,), (3, 5), (BLOCK,), (BLOCK + 1,), (7, 111), (2, 3, 100), (1100, BLOCK), (0,), (4, 0)]


def values_of(shape: tuple[int, ...], scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def slowly(values: torch.Tensor, bits: Bits) -> torch.Tensor:
    """Return what arrives, by the obvious loop over blocks and values."""
    flat, arrived = values.flatten(), []
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        scale = block.abs().max() / LEVELS[bits]
        arrived += [torch.round(value / scale) * scale for value in block]
    return torch.stack(arrived).reshape(values.shape)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_losses_add_up_and_no_value_moves_by_more_than_half_a_scale(
    bits: Bits, shape: tuple[int, ...]
) -> None:
    values = values_of(shape)
    lost = values.clone()
    encoded = quantise(lost, bits)
    arrived = encoded.decode()
    assert arrived.shape == values.shape
    assert torch.equal(values - arrived, lost)
    scales = encoded.scales.repeat_interleave(BLOCK)[: values.numel()].reshape(shape)
    assert bool((lost.abs() <= 0.5001 * scales).all())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", [(3, 5), (BLOCK + 1,), (1030,)])
def test_what_arrives_is_the_nearest_level_of_each_blocks_grid(bits: Bits, shape: tuple[int, ...]) -> None:
    values = values_of(shape, seed=3)
    torch.testing.assert_close(quantise(values.clone(), bits).decode(), slowly(values, bits), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bits", [8, 4])
def test_every_level_of_the_grid_arrives_as_it_was(bits: Bits) -> None:
    levels = torch.arange(-LEVELS[bits], LEVELS[bits] + 1).float()
    lost = levels.clone() * 0.5
    assert torch.equal(quantise(lost, bits).decode(), levels * 0.5)
    assert not lost.any()


@pytest.mark.parametrize(
    ("count", "bits", "expected"),
    [(BLOCK, 8, 256 + 4), (BLOCK, 4, 128 + 4), (1, 4, 1 + 4), (257, 4, 129 + 8), (1000, 8, 1000 + 16), (0, 4, 0)],
)
def test_codes_and_scales_are_counted(count: int, bits: Bits, expected: int) -> None:
    encoded = quantise(values_of((count,)), bits)
    assert encoded.byte_size() == expected
    assert encoded.codes.element_size() * encoded.codes.numel() + 4 * encoded.scales.numel() == expected


def test_a_large_value_costs_its_own_block_only() -> None:
    values = torch.full((2 * BLOCK,), 0.01)
    values[0] = 1e6
    arrived = quantise(values.clone(), 4).decode()
    assert arrived[0] == pytest.approx(1e6)
    assert not arrived[1:BLOCK].any()
    torch.testing.assert_close(arrived[BLOCK:], values[BLOCK:])


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-40, 3e-38])
def test_zeros_and_values_too_small_for_a_scale_arrive_finite_and_nothing_is_forgotten(bits: Bits, tiny: float) -> None:
    values = torch.tensor([tiny, -tiny, 0.0, tiny / 2] * 100)
    lost = values.clone()
    arrived = quantise(lost, bits).decode()
    assert bool(arrived.isfinite().all())
    assert torch.equal(arrived + lost, values)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_largest_numbers_stay_finite(bits: Bits) -> None:
    largest = torch.finfo(torch.float32).max / 2
    arrived = quantise(torch.tensor([largest, -largest, 1.0]), bits).decode()
    torch.testing.assert_close(arrived, torch.tensor([largest, -largest, 0.0]))


def test_float64_stays_float64() -> None:
    values = values_of((300,)).double()
    lost = values.clone()
    encoded = quantise(lost, 4)
    assert encoded.decode().dtype == torch.float64
    torch.testing.assert_close(encoded.decode() + lost, values, rtol=1e-15, atol=1e-15)


def test_pieces_that_do_not_fit_together_are_refused() -> None:
    encoded = quantise(values_of((300,)), 4)
    broken = [
        replace(encoded, codes=encoded.codes[:-1]),
        replace(encoded, scales=encoded.scales[:-1]),
        replace(encoded, shape=torch.Size((10**12,))),
        replace(encoded, bits=8),
    ]
    for update in broken:
        with pytest.raises(ParticipantError, match="codes and scales do not fit"):
            update.decode()


def test_a_forged_scale_is_seen_in_what_it_decodes_to() -> None:
    encoded = quantise(values_of((300,)), 8)
    forged = replace(encoded, scales=torch.full_like(encoded.scales, math.inf))
    assert not bool(forged.decode().isfinite().all())
