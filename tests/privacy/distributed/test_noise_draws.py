"""Drawn noise has the distribution that is counted: exactly on the table, and the table's own error is tiny."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from foedus.core.entropy import Entropy
from foedus.core.seeds import SeedKey
from foedus.privacy.distributed.draws import (
    DIGITS,
    MOST_STDDEV,
    Distribution,
    Table,
    gaussian_weights,
    sampler,
    skellam_weights,
)

DISTRIBUTIONS: Sequence[Distribution] = ("discrete_gaussian", "skellam")
VARIANCES = [0.3, 1.0, 7.5, 900.0, 1500.0**2]


def seeded(seed: int) -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(seed))


def true_probabilities(distribution: Distribution, variance: float, reach: int) -> NDArray[np.float64]:
    """Return the chances of 0, 1, … reach, by formulas that the code does not use."""
    x = np.arange(reach + 1, dtype=np.float64)
    if distribution == "skellam":
        return np.asarray(special.ive(x, variance))
    weights = np.exp(-(x**2) / (2 * variance))
    return np.asarray(weights / (2 * weights.sum() - 1))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_tabulated_probabilities_are_the_true_ones(distribution: Distribution, variance: float) -> None:
    make: Callable[[float], list[int]] = gaussian_weights if distribution == "discrete_gaussian" else skellam_weights
    weights = make(variance)
    total = 2 * sum(weights) - weights[0]
    reach = min(len(weights) - 1, math.ceil(8 * math.sqrt(variance)))
    tabulated = np.array([float(Fraction(weight, total)) for weight in weights[: reach + 1]])
    assert tabulated == pytest.approx(true_probabilities(distribution, variance, reach), rel=1e-9)


@pytest.mark.parametrize("variance", VARIANCES)
def test_skellam_weights_fulfil_the_recurrence_of_bessel_functions_to_100_digits(variance: float) -> None:
    weights, exact = skellam_weights(variance), Fraction(variance)
    total = sum(weights)
    for x in (1, 2, 5, 40):
        left, right = Fraction(weights[x - 1]), weights[x + 1] + Fraction(2 * x * weights[x]) / exact
        assert abs(left - right) <= Fraction(total, 10**100)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("variance", [0.3, 1.0, 7.5, 900.0, 1500.0**2, float(MOST_STDDEV**2)])
def test_what_lies_beyond_the_table_is_less_than_a_draw_could_show(distribution: Distribution, variance: float) -> None:
    x = float(-sampler(distribution, variance).least)
    if distribution == "discrete_gaussian":  # subgaussian; Chernoff's bound for the difference of two Poisson variables
        log_tail = -(x**2) / (2 * variance)
    else:
        log_tail = math.hypot(x, variance) - variance - x * math.asinh(x / variance)
    assert 1 + log_tail / math.log(2) < -200


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_draws_pass_a_chi_square_test_and_a_wrong_variance_fails_it(
    distribution: Distribution, variance: float
) -> None:
    count = 400_000
    drawn = sampler(distribution, variance).draw(count, seeded(5))
    assert p_value(drawn, distribution, variance) > 1e-4
    if variance > 0.5:
        assert p_value(drawn, distribution, variance * 1.05) < 1e-9


def p_value(drawn: NDArray[np.int32], distribution: Distribution, variance: float) -> float:
    """Return that of a chi-square test, over bins that expect at least 50 draws each."""
    reach = math.ceil(8 * math.sqrt(variance)) + 8
    half = true_probabilities(distribution, variance, reach)
    chances = np.concatenate([half[:0:-1], half])
    counts = np.bincount(np.clip(drawn, -reach, reach) + reach, minlength=2 * reach + 1)
    width = max(1, reach // 16)
    starts = np.arange(0, len(chances), width)
    binned, seen = np.add.reduceat(chances, starts), np.add.reduceat(counts, starts)
    keep = binned * len(drawn) >= 50
    expected = np.append(binned[keep], 1 - binned[keep].sum()) * len(drawn)
    observed = np.append(seen[keep], len(drawn) - seen[keep].sum())
    kept = expected > 1
    statistic = float(((observed[kept] - expected[kept]) ** 2 / expected[kept]).sum())
    return float(stats.chi2.sf(statistic, kept.sum() - 1))


def test_every_uniform_number_gives_what_plain_inversion_gives() -> None:
    table = Table([5, 3, 2, 1])  # 17 in all, and the bounds are no whole cells
    chances = np.cumsum([1, 2, 3, 5, 3, 2, 1]) / 17
    words = np.concatenate([np.arange(0, 2**32, 65_521, dtype=np.uint32), near_bounds(table)])
    into = np.empty(len(words), dtype=np.int32)
    table._fill(words, into, seeded(0))
    plain = np.searchsorted(chances, (words + 0.5) / 2**32, side="right") - 3
    decided = ~np.isin(words, table._tops)
    assert np.array_equal(into[decided], plain[decided])
    assert (~decided).sum() >= 6


def near_bounds(table: Table) -> NDArray[np.uint32]:
    tops = table._tops[:-1].astype(np.int64)
    return np.concatenate([tops - 1, tops, tops + 1]).astype(np.uint32)


def test_where_32_digits_do_not_decide_more_are_drawn() -> None:
    table = Table([1, 1])  # thirds have no end in binary digits
    bound = table.bounds[0]
    words = np.full(4000, bound >> (DIGITS - 32), dtype=np.uint32)
    into = np.empty(len(words), dtype=np.int32)
    table._fill(words, into, seeded(3))
    # the rest of the bound's digits, as a number in [0, 1), is the chance to lie below it
    below = (bound & ((1 << (DIGITS - 32)) - 1)) / (1 << (DIGITS - 32))
    assert set(into.tolist()) == {-1, 0}
    assert (into == -1).mean() == pytest.approx(below, abs=0.04)  # 5 standard deviations


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_seed_repeats_draws_and_secret_ones_differ(distribution: Distribution) -> None:
    table = sampler(distribution, 50.0)
    assert np.array_equal(table.draw(100_000, seeded(1)), table.draw(100_000, seeded(1)))
    assert not np.array_equal(table.draw(1000, Entropy.secret()), table.draw(1000, Entropy.secret()))


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan, math.inf, 2.0 * MOST_STDDEV**2])
def test_a_variance_that_cannot_be_tabulated_is_refused(variance: float) -> None:
    with pytest.raises(ValueError, match="noise of variance"):
        sampler("discrete_gaussian", variance)
