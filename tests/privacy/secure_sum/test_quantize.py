from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.masks import word_type
from foedus.privacy.secure_sum.quantize import Grid, Rounding, quantize, restore
from privacy.secure_sum.federations import entropy


def words(grid: Grid, count: int) -> np.ndarray:
    return np.zeros(count, dtype=word_type(grid.width))


@settings(max_examples=80, deadline=None)
@given(
    st.floats(1e-6, 1e6),
    st.integers(1, 40),
    st.sampled_from([16, 32, 64]),
    st.sampled_from(["nearest", "stochastic"]),
    st.integers(0, 99),
)
def test_a_sum_on_the_grid_is_within_the_stated_error(
    limit: float, participants: int, width: int, rounding: Rounding, seed: int
) -> None:
    grid = Grid(limit, participants, width)
    values = (
        (torch.rand(participants, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1)
        * grid.levels
        * grid.step
    )
    total = words(grid, 50)
    for index, row in enumerate(values):
        own = words(grid, 50)
        assert quantize(row, grid, own, rounding=rounding, entropy=entropy("rounding", index)) == 0
        total += own
    error = (restore(total, grid) - values.sum(0)).abs().max()
    assert error <= grid.error_of_sum(rounding) + 1e-12 * limit * participants


@settings(max_examples=80, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(1, 5000), st.sampled_from([16, 32, 64]))
def test_the_sum_of_the_largest_values_does_not_overflow(limit: float, participants: int, width: int) -> None:
    grid = Grid(limit, participants, width)
    assert grid.levels * participants < 2 ** (width - 1)
    assert width <= 16 or math.frexp(grid.step)[0] == 0.5
    assert limit - grid.step < grid.levels * grid.step <= limit * (1 + 1e-12)
    for sign in (1.0, -1.0):
        own = words(grid, 1)
        assert quantize(torch.tensor([sign * math.inf]), grid, own) == 1
        total = own * own.dtype.type(participants)
        assert restore(total, grid).item() == sign * participants * grid.levels * grid.step


def test_whole_numbers_and_weights_come_back_exactly() -> None:
    counts = Grid(2.0**40, 100, 64, whole=True)
    weights = Grid(1e6, 100, 64)
    for grid in (counts, weights):
        total = words(grid, 3)
        for value in (0, 3, 999_999):
            own = words(grid, 3)
            assert quantize(torch.tensor([value, 1, 17], dtype=torch.float64), grid, own) == 0
            total += own
        assert restore(total, grid).tolist() == [1_000_002, 3, 51]


def test_values_beyond_the_limit_are_clipped_and_counted() -> None:
    grid = Grid(1.0, 2, 32)
    own = words(grid, 4)
    assert quantize(torch.tensor([0.5, 2.0, -3.0, 1.0]), grid, own) == 2
    assert restore(own, grid).tolist() == [0.5, grid.levels * grid.step, -grid.levels * grid.step, 1.0]


def test_the_scale_multiplies_before_rounding() -> None:
    grid = Grid(100.0, 3, 32)
    own = words(grid, 2)
    quantize(torch.tensor([0.25, -0.5]), grid, own, scale=64.0)
    assert restore(own, grid).tolist() == [16.0, -32.0]


def test_stochastic_rounding_keeps_the_mean_and_nearest_rounding_does_not() -> None:
    """200,000 values at 0.3 of a step; the mean's standard deviation is 0.001 of a step."""
    grid = Grid(127.0, 1, 8, whole=True)
    own = words(grid, 200_000)
    quantize(torch.full((200_000,), 0.3), grid, own, rounding="stochastic", entropy=entropy("coins"))
    assert abs(restore(own, grid).mean().item() - 0.3) < 0.006
    quantize(torch.full((200_000,), 0.3), grid, own)
    assert restore(own, grid).mean().item() == 0.0


def test_nan_is_refused() -> None:
    grid = Grid(1.0, 2, 32)
    with pytest.raises(SecureSumError, match="NaN"):
        quantize(torch.tensor([0.0, math.nan]), grid, words(grid, 2))


def test_stochastic_rounding_without_entropy_is_refused() -> None:
    grid = Grid(1.0, 2, 32)
    with pytest.raises(SecureSumError, match="needs entropy"):
        quantize(torch.zeros(2), grid, words(grid, 2), rounding="stochastic")


@pytest.mark.parametrize(
    ("limit", "participants", "width", "whole"),
    [
        (0.0, 2, 32, False),
        (math.nan, 2, 32, False),
        (math.inf, 2, 32, False),
        (1.0, 200, 8, False),
        (1.0, 0, 32, False),
        (1.0, 2, 24, False),
        (2.0**30, 4, 32, True),
    ],
)
def test_grids_that_could_overflow_are_refused(limit: float, participants: int, width: int, whole: bool) -> None:
    with pytest.raises(SecureSumError):
        Grid(limit, participants, width, whole)


def test_values_must_fill_the_words() -> None:
    grid = Grid(1.0, 2, 32)
    with pytest.raises(SecureSumError, match="another width or number"):
        quantize(torch.zeros(3), grid, words(grid, 2))
