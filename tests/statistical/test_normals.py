"""The stream's normals and coins against their distributions. Seeds are fixed; of other seeds 1 in 1,000 would fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from foedus.core.entropy import _BLOCK, Entropy
from foedus.core.seeds import SeedKey

COUNT = 1 << 20
THREE_AND_A_THIRD = 3.29  # standard errors: two-sided, 0.1 %


def fixed(*names: str | int) -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(1).child(*names))


def greatest_gap(values: torch.Tensor, stddev: float = 1.0) -> float:
    """Return Kolmogorov and Smirnov's statistic, times the root of the count; 1.95 is its 99.9 % point."""
    ordered = values.double().sort().values / stddev
    expected = torch.special.ndtr(ordered)
    ranks = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    return float((ranks - expected).abs().max()) * math.sqrt(len(ordered))


@pytest.mark.parametrize("count", [COUNT, COUNT + 777])
def test_normals_are_normal(count: int) -> None:
    assert greatest_gap(fixed("normal", count).normal((count,))) < 1.95


@pytest.mark.parametrize("wrong", [2 / 3, 0.99, 1.01, 3 / 2])
def test_the_same_test_rejects_another_scale(wrong: float) -> None:
    assert greatest_gap(fixed("normal", COUNT).normal((COUNT,)) * wrong) > 1.95


def test_short_draws_are_normal_too() -> None:
    stream = fixed("short")
    assert greatest_gap(torch.cat([stream.normal((3,)) for _ in range(20_000)])) < 1.95


@pytest.mark.parametrize("limit", [3.0, 4.0, 4.5])
def test_the_tails_are_as_heavy_as_a_gaussians(limit: float) -> None:
    stream, count, beyond = fixed("tails"), 1 << 25, 0
    for _ in range(count // COUNT):
        beyond += int((stream.normal((COUNT,)).abs() > limit).sum())
    expected = count * math.erfc(limit / math.sqrt(2))
    assert abs(beyond - expected) < THREE_AND_A_THIRD * math.sqrt(expected)


def test_the_two_normals_of_a_pair_are_independent_in_sign_and_size() -> None:
    pairs = fixed("pairs").normal((COUNT // _BLOCK, 2, _BLOCK // 2)).double()
    first, second = pairs[:, 0].flatten(), pairs[:, 1].flatten()
    for left, right in ((first, second), (first**2, second**2), (first.abs(), second)):
        correlation = float(torch.corrcoef(torch.stack([left, right]))[0, 1])
        assert abs(correlation) < THREE_AND_A_THIRD / math.sqrt(len(first))


def test_streams_of_different_names_and_later_draws_of_one_are_uncorrelated() -> None:
    stream = fixed("streams")
    drawn = [stream.normal((COUNT,)), stream.normal((COUNT,))]
    drawn += [stream.child("a").normal((COUNT,)), stream.child("b").normal((COUNT,)), stream.once(1).normal((COUNT,))]
    drawn.append(drawn[0].roll(1))
    correlations = torch.corrcoef(torch.stack(drawn).double()) - torch.eye(len(drawn))
    # fifteen pairs: 4 standard errors keep the false-alarm rate at 0.1 % for all together
    assert float(correlations.abs().max()) < 4.0 / math.sqrt(COUNT)


def test_uniforms_are_uniform() -> None:
    counts = np.histogram(fixed("uniform").uniform(COUNT), bins=64, range=(0, 1))[0]
    assert float(((counts - COUNT / 64) ** 2 / (COUNT / 64)).sum()) < 103.44  # chi-squared, 63 degrees of freedom


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_coins_come_up_at_their_rate_and_the_test_rejects_another(rate: float) -> None:
    chosen = len(fixed("coins").chosen(COUNT, rate))
    error = math.sqrt(COUNT * rate * (1 - rate))
    assert abs(chosen - COUNT * rate) < THREE_AND_A_THIRD * error
    assert abs(chosen - COUNT * rate * 0.95) > THREE_AND_A_THIRD * error
