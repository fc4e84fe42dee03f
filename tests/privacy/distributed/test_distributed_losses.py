"""What distributed noise is said to cost is never less than it costs: against sums computed exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from foedus.core.errors import ConfigError
from foedus.privacy import accounting, renyi
from foedus.privacy.advice import useful_advice
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.composition import epsilon_of
from foedus.privacy.distributed.grid import NoisedGrid
from foedus.privacy.distributed.losses import (
    concentration,
    convolution_error,
    gaussian_divergences,
    gaussian_losses,
    skellam_divergences,
    skellam_losses,
)
from foedus.privacy.events import DistributedGaussian, DistributedSkellam, Gaussian
from foedus.privacy.plan import DistributedPlan, charges

REACH = 150
ORDERS = np.array([1.5, 2.0, 3.0, 8.0])
Pmf = NDArray[np.float64]
SHIFTS: Sequence[tuple[int, ...]] = ((1,), (3,), (1, 1), (2, -1))


def gaussian_sum(stddev: float, count: int) -> Pmf:
    """Return the distribution of a sum of discrete Gaussians, convolved number by number."""
    x = np.arange(-REACH, REACH + 1)
    one = np.exp(-(x**2) / (2 * stddev**2))
    return reduce(np.convolve, [one / one.sum()] * count)


def skellam(variance: float) -> Pmf:
    return np.asarray(special.ive(np.abs(np.arange(-REACH, REACH + 1)), variance))


def joint(pmf: Pmf, shift: tuple[int, ...]) -> tuple[Pmf, Pmf]:
    """Return the chances of every outcome with, and without, a shift of independent coordinates."""
    with_shift, without = np.ones(1), np.ones(1)
    for step in shift:
        length = len(pmf) - abs(step)
        begin = max(0, step)
        with_shift = np.outer(with_shift, pmf[begin : begin + length]).ravel()
        without = np.outer(without, pmf[begin - step : begin - step + length]).ravel()
    return with_shift, without


def divergence(p: Pmf, q: Pmf, order: float) -> float:
    kept = (p > 1e-280) & (q > 1e-280)
    return float(special.logsumexp(order * np.log(p[kept]) + (1 - order) * np.log(q[kept])) / (order - 1))


def delta_of(p: Pmf, q: Pmf, epsilon: float) -> float:
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum())


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("stddev", [0.5, 0.6, 1.0, 2.5])
@pytest.mark.parametrize("shift", SHIFTS)
def test_sums_of_discrete_gaussians_cost_no_more_than_is_counted(
    count: int, stddev: float, shift: tuple[int, ...]
) -> None:
    p, q = joint(gaussian_sum(stddev, count), shift)
    squared = float(sum(step**2 for step in shift))
    bound = gaussian_divergences(squared, stddev, count, len(shift), ORDERS)
    exact = [max(divergence(p, q, order), divergence(q, p, order)) for order in ORDERS]
    assert (bound >= np.array(exact) - 1e-9).all()
    if stddev >= 1:  # and hardly more
        assert (bound <= 1.02 * np.array(exact) + 1e-9).all()
    every = gaussian_divergences(squared, stddev, count, len(shift), renyi.orders())
    for delta in (1e-2, 1e-4):
        assert delta_of(p, q, renyi.epsilon_of(every, delta)) <= delta


@pytest.mark.parametrize("variance", [0.7, 2.0, 8.0, 20.0])
@pytest.mark.parametrize("shift", SHIFTS)
def test_skellam_noise_costs_no_more_than_is_counted(variance: float, shift: tuple[int, ...]) -> None:
    p, q = joint(skellam(variance), shift)
    squared = float(sum(step**2 for step in shift))
    whole = ORDERS[np.floor(ORDERS) == ORDERS]
    bound = skellam_divergences(squared, variance, len(shift), whole)
    exact = [max(divergence(p, q, order), divergence(q, p, order)) for order in whole]
    assert (bound >= np.array(exact) - 1e-9).all()
    every = skellam_divergences(squared, variance, len(shift), renyi.orders())
    for delta in (1e-2, 1e-4):
        assert delta_of(p, q, renyi.epsilon_of(every, delta)) <= delta


def test_a_sum_of_skellam_variables_is_one_of_the_summed_variance() -> None:
    three = reduce(np.convolve, [skellam(2.0)] * 3)
    middle = len(three) // 2
    assert three[middle - 20 : middle + 21] == pytest.approx(special.ive(np.abs(np.arange(-20, 21)), 6.0), rel=1e-9)


def test_a_sum_of_discrete_gaussians_is_as_near_to_one_as_is_counted() -> None:
    for stddev, count in ((0.5, 2), (0.6, 3), (0.8, 4)):
        summed = gaussian_sum(stddev, count)
        x = np.arange(len(summed)) - len(summed) // 2
        near = np.exp(-(x**2) / (2 * count * stddev**2))
        kept = np.abs(x) <= 12
        ratio = np.abs(np.log(summed[kept] / (near / near.sum())[kept])).max()
        assert 1e-6 < ratio <= convolution_error(stddev, count) / 2


@pytest.mark.parametrize(("bits", "expected"), [(10, 2.52), (12, 0.627), (14, 0.508), (16, 0.5006)])
def test_cost_by_bits_is_as_published_figures_have_it(bits: int, expected: float) -> None:
    # 200,000 coordinates, 30 participants; a trusted coordinator's noise costs 0.5
    assert concentration(NoisedGrid(1.0, 30, 30, bits, 1 << 18)) == pytest.approx(expected, rel=2e-3)


def test_with_many_bits_distributed_noise_costs_what_a_gaussian_costs() -> None:
    fine = NoisedGrid(1.0, 30, 30, 16, 4096)
    orders = renyi.orders()
    assert gaussian_losses(fine, orders) == pytest.approx(orders / 2, rel=2e-4)
    low = (orders == np.floor(orders)) & (orders < 200)
    assert skellam_losses(fine, orders)[low] == pytest.approx(orders[low] / 2, rel=2e-3)


def test_noise_of_less_than_half_a_step_is_never_counted_as_protection() -> None:
    assert np.isinf(gaussian_divergences(1.0, 0.49, 5, 1, ORDERS)).all()


def test_renyi_composition_of_gaussians_is_a_little_above_the_exact_figure() -> None:
    exact = epsilon_of(((Gaussian(4.0), 40),), 1e-5)
    bound = renyi.epsilons([], Gaussian(4.0), [40], 1e-5)[0]
    assert exact < bound < 1.1 * exact


def test_mixed_charges_compose_and_nothing_costs_nothing() -> None:
    event = DistributedGaussian(3.0, 40, 30, 16, 4096)
    assert epsilon_of((), 1e-5) == 0.0
    assert renyi.epsilons([], event, [0, 1], 1e-5)[0] == 0.0
    alone, other = epsilon_of(((event, 10),), 1e-5), epsilon_of(((Gaussian(3.0), 10),), 1e-5)
    both = epsilon_of(((event, 10), (Gaussian(3.0), 10)), 1e-5)
    assert max(alone, other) < both < alone + other
    assert both == pytest.approx(epsilon_of(((event, 20),), 1e-5), rel=2e-3)


def plan(noise: float, distribution: str = "discrete_gaussian", bits: int = 16) -> DistributedPlan:
    kind = "skellam" if distribution == "skellam" else "discrete_gaussian"
    return DistributedPlan(noise, FixedClip(0.5), 1e-5, 400, 91, 79, 2, 5, kind, bits, 20_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("distribution", ["discrete_gaussian", "skellam"])
def test_a_plan_is_calibrated_to_its_epsilon(distribution: str) -> None:
    found = accounting.calibrate(8.0, 40, lambda noise: plan(noise, distribution))
    cost = accounting.epsilon(charges(found, 40), found.delta)
    assert 7.9 < cost <= 8.0
    assert accounting.epsilon_by_round(found, 40)[-1] == pytest.approx(cost)
    assert found.uses(40) == 8
    assert accounting.epsilon_by_round(found, 5)[1:] == [accounting.epsilon(charges(found, 5), found.delta)] * 5


def test_where_the_grid_is_too_coarse_no_noise_is_enough_and_planning_says_so() -> None:
    with pytest.raises(ConfigError, match="no noise multiplier"):
        accounting.calibrate(0.05, 4000, lambda noise: plan(noise, bits=8))


def test_a_participants_own_ledger_counts_each_round_that_it_takes_part_in() -> None:
    own = plan(2.0).by_participation()
    assert own.event() == plan(2.0).event()
    assert [own.uses(rounds) for rounds in (1, 2, 9)] == [1, 2, 9]


def test_noise_for_far_smaller_sums_than_there_will_be_is_advised_against() -> None:
    told = useful_advice(replace(plan(4.0), survivors=20), 40, 20_000)
    assert told is not None
    assert "Raise secure_sum.min_cohort" in told
    assert "Raise secure_sum.min_cohort" not in (useful_advice(plan(4.0), 40, 20_000) or "")


def test_the_event_of_a_plan_has_its_kind() -> None:
    assert isinstance(plan(1.0).event(), DistributedGaussian)
    assert isinstance(plan(1.0, "skellam").event(), DistributedSkellam)


@pytest.mark.parametrize(
    ("survivors", "colluders", "cohort"), [(5, 5, 10), (0, 0, 10), (11, 1, 10), (5, -1, 10), (5, 1, 401)]
)
def test_plans_that_no_round_can_keep_are_refused(survivors: int, colluders: int, cohort: int) -> None:
    with pytest.raises(ConfigError):
        DistributedPlan(1.0, FixedClip(1.0), 1e-5, 400, cohort, survivors, colluders, 1, "discrete_gaussian", 16, 1000)
