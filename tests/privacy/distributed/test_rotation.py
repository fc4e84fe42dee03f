"""The public rotation keeps lengths, is undone, and spreads whatever it is given."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.seeds import SeedKey
from foedus.privacy.distributed.rotation import Rotation, odd_part, padded_length, spread

KEY = SeedKey.from_seed(11)
LENGTHS = [1, 2, 3, 5, 8, 15, 16, 17, 100, 1000, 1024, 4095, 5000]


@pytest.mark.parametrize("length", LENGTHS)
def test_the_matrix_is_orthonormal_and_its_own_inverse(length: int) -> None:
    size = padded_length(length)
    if size > 1100:
        size = padded_length(17 + length % 100)
    rotation = Rotation(size, KEY)
    matrix = torch.stack([rotation.rotate(row) for row in torch.eye(size, dtype=torch.float64)])
    assert torch.allclose(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-12)
    assert float((matrix**2).max()) * size == pytest.approx(spread(size))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6000), st.integers(0, 2**32))
def test_rotating_keeps_the_norm_and_is_undone(length: int, seed: int) -> None:
    rotation = Rotation(length, SeedKey.from_seed(seed))
    vector = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    rotated = rotation.rotate(vector)
    assert len(rotated) == padded_length(length)
    assert float(rotated.norm()) == pytest.approx(float(vector.norm()), rel=1e-5)
    assert torch.allclose(rotation.unrotate(rotated), vector, atol=1e-5)


@given(st.integers(1, 2**40))
def test_padding_is_less_than_an_eighth_and_the_odd_part_small(length: int) -> None:
    padded = padded_length(length)
    assert length <= padded < length * 9 / 8 or padded == length
    assert odd_part(padded) < 16


@pytest.mark.parametrize("length", [17, 1000, 5000])
def test_without_signs_it_is_the_walsh_hadamard_matrix_times_a_small_one(length: int) -> None:
    rotation = Rotation(length, KEY)
    size, odd = rotation.padded, odd_part(rotation.padded)
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    while len(hadamard) < size // odd:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), hadamard)
    angles = 2 * math.pi * torch.outer(torch.arange(odd), torch.arange(odd)).double() / odd
    whole = torch.kron(angles.cos() + angles.sin(), hadamard) / math.sqrt(size)
    vector = torch.randn(length, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    signed = torch.zeros(size, dtype=torch.float64)
    signed[:length] = vector * rotation._signs(torch.float64)
    assert torch.allclose(rotation.rotate(vector), whole @ signed, atol=1e-10)


def test_one_large_coordinate_is_spread_over_all() -> None:
    vector = torch.zeros(4000)
    vector[17] = 1.0
    rotated = Rotation(4000, KEY).rotate(vector)
    assert float(rotated.abs().max()) ** 2 * len(rotated) <= 2.0


def test_the_key_decides_on_the_signs() -> None:
    vector = torch.ones(64)
    one, same, other = (Rotation(64, SeedKey.from_seed(seed)).rotate(vector) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_signs_are_even() -> None:
    signs = Rotation(100_000, KEY)._signs(torch.float32)
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(float(signs.sum())) < 5 * math.sqrt(100_000)  # false alarm 6e-7, were the seed not fixed
