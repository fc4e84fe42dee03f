"""Rounding by chance keeps the mean, and what is rounded is never longer than its bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.entropy import Entropy
from foedus.core.errors import ParticipantError
from foedus.core.seeds import SeedKey
from foedus.privacy.distributed.grid import NoisedGrid
from foedus.privacy.distributed.rounding import round_within


def seeded(seed: int) -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(seed))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 400), st.floats(0.2, 200))
def test_each_number_goes_to_a_neighbour_and_the_norm_stays_within(seed: int, length: int, scale: float) -> None:
    vector = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    root = math.sqrt(length)
    bound = math.floor((scale * float(vector.norm()) + root) ** 2 + 1)
    rounded = round_within(vector, scale, bound, seeded(seed))
    exact = vector.double().numpy() * scale
    assert np.abs(rounded - exact).max() < 1
    assert int((rounded.astype(np.int64) ** 2).sum()) <= bound


def test_whole_numbers_stay_as_they_are() -> None:
    vector = torch.tensor([3.0, -2.0, 0.0, 7.0])
    assert round_within(vector, 1.0, 62, seeded(0)).tolist() == [3, -2, 0, 7]


def test_the_mean_of_roundings_is_what_was_rounded() -> None:
    vector = torch.full((200_000,), 0.3)
    rounded = round_within(vector, 1.0, 10**9, seeded(4))
    assert set(np.unique(rounded).tolist()) == {0, 1}
    assert rounded.mean() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 200_000))


def test_a_vector_at_the_clipping_norm_is_rounded_in_a_few_tries() -> None:
    grid = NoisedGrid(1.0, 30, 30, 12, 4096)
    vector = torch.randn(4096, generator=torch.Generator().manual_seed(2))
    vector /= vector.norm()
    for seed in range(20):
        rounded = round_within(vector, 1 / grid.step, grid.largest_squared_norm, seeded(seed))
        assert int((rounded.astype(np.int64) ** 2).sum()) <= grid.largest_squared_norm


@pytest.mark.parametrize("factor", [1.2, 1e6, 1e30])
def test_a_vector_that_is_too_long_is_refused(factor: float) -> None:
    grid = NoisedGrid(1.0, 30, 30, 16, 4096)
    vector = torch.full((4096,), factor / 64)
    with pytest.raises(ParticipantError, match="longer than the clipping norm"):
        round_within(vector, 1 / grid.step, grid.largest_squared_norm, seeded(1))
