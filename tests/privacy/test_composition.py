import math
import sys

import pytest
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import ConfigError, MissingExtra
from foedus.privacy import composition
from foedus.privacy.accounting import epsilon
from foedus.privacy.events import Charge, CorrelatedGaussian, Gaussian, PoissonGaussian, TruncatedPoissonGaussian


def balle_wang_delta(multiplier: float, figure: float) -> float:
    """Equation 6 of arXiv:1805.06530, by the error function alone."""

    def phi(value: float) -> float:
        return 0.5 * math.erfc(-value / math.sqrt(2))

    shift = figure * multiplier
    return phi(1 / (2 * multiplier) - shift) - math.exp(figure) * phi(-1 / (2 * multiplier) - shift)


@pytest.mark.parametrize(
    ("charges", "expected", "tolerance"),
    [
        ([(PoissonGaussian(1.0, 256 / 50_000), 588)], 0.697, 5e-4),
        ([(PoissonGaussian(1.0, 0.05), 200)], 4.77, 5e-3),
        ([(TruncatedPoissonGaussian(1.0, 0.05, 1000, 80), 200)], 4.81, 5e-3),
        ([(TruncatedPoissonGaussian(1.0, 0.05, 1000, 60), 200)], 11.01, 5e-3),
        ([(Gaussian(1.0), 200)], 159.4, 0.05),
        ([(Gaussian(1.0), 10)], 17.9, 0.05),
    ],
)
def test_recorded_figures_of_well_known_settings_are_met(
    charges: list[Charge], expected: float, tolerance: float
) -> None:
    assert epsilon(charges, 1e-5) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("rate", "steps"), [(256 / 50_000, 588), (0.05, 200)])
def test_figures_agree_with_the_accountant_of_opacus(rate: float, steps: int) -> None:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(1.0, rate, steps)]
    theirs = accountant.get_epsilon(delta=1e-5, eps_error=0.01)  # an upper end, by at most 0.01 too high
    ours = epsilon([(PoissonGaussian(1.0, rate), steps)], 1e-5)
    assert theirs - 0.02 < ours < theirs


@pytest.mark.parametrize(
    ("rate", "multiplier", "steps"), [(0.05, 1.0, 200), (256 / 50_000, 1.0, 588), (0.1, 4.0, 1000)]
)
def test_figures_lie_under_those_by_renyi_divergence(rate: float, multiplier: float, steps: int) -> None:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(multiplier)), steps)
    theirs = accountant.get_epsilon(1e-5)
    assert 0.5 * theirs < epsilon([(PoissonGaussian(multiplier, rate), steps)], 1e-5) < theirs


@given(st.floats(0.3, 50), st.integers(1, 50), st.floats(-12, -1))
def test_gaussians_meet_the_closed_form(multiplier: float, count: int, exponent: float) -> None:
    delta = 10.0**exponent
    figure = epsilon([(Gaussian(multiplier), count)], delta)
    spent = balle_wang_delta(multiplier / math.sqrt(count), figure)
    assert spent <= delta * (1 + 1e-6)
    assert figure == 0 or spent == pytest.approx(delta, rel=1e-4)


def test_gaussians_and_whole_streams_of_all_kinds_make_one_gaussian() -> None:
    charges: list[Charge] = [
        (Gaussian(4.0), 3),
        (CorrelatedGaussian(2.0, 200, 20, 10), 1),
        (PoissonGaussian(5.0, 1.0), 2),
    ]
    precision = 3 / 16 + 1 / 4 + 2 / 25
    assert epsilon(charges, 1e-6) == pytest.approx(get_epsilon_gaussian(precision**-0.5, 1e-6))


def test_a_cap_that_never_bites_costs_nothing() -> None:
    capped = epsilon([(TruncatedPoissonGaussian(1.0, 0.05, 1000, 400), 50)], 1e-5)
    assert capped == pytest.approx(epsilon([(PoissonGaussian(1.0, 0.05), 50)], 1e-5), rel=1e-6)


@pytest.mark.parametrize(
    ("rate", "multiplier", "steps", "delta", "finest"),
    [
        (256 / 50_000, 1.0, 588, 1e-5, 0.69655),
        (0.001, 0.6, 20_000, 1e-6, 3.74686),
        (0.3, 5.0, 1000, 1e-4, 8.43760),
        (0.01, 0.5, 50, 1e-5, 5.60208),
    ],
)
def test_the_chosen_grid_is_within_its_precision_of_a_fine_one(
    rate: float, multiplier: float, steps: int, delta: float, finest: float
) -> None:
    # `finest` is dp-accounting 0.6.0 at a spacing of 1e-4, which takes seconds
    figure = epsilon([(PoissonGaussian(multiplier, rate), steps)], delta)
    assert finest * (1 - 1e-5) < figure < finest * (1 + composition.PRECISION)


def test_many_tiny_steps_are_not_drowned_by_the_grid() -> None:
    # at a fixed spacing of 1e-4 this comes out as 0.126
    figure = epsilon([(PoissonGaussian(10.0, 0.001), 100_000)], 1e-6)
    assert figure == pytest.approx(0.1163, abs=2e-4)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.5, 5), st.floats(0.001, 0.5), st.integers(1, 300), st.floats(0.5, 5), st.integers(0, 5))
def test_more_steps_never_cost_less_and_mixing_never_less_than_either(
    multiplier: float, rate: float, steps: int, other: float, others: int
) -> None:
    sampled = (PoissonGaussian(multiplier, rate), steps)
    alone = epsilon([sampled], 1e-5)
    tolerance = 1 - composition.PRECISION
    assert epsilon([(sampled[0], steps + 10)], 1e-5) >= alone * tolerance
    mixed = epsilon([sampled, (Gaussian(other), others)], 1e-5)
    assert mixed >= max(alone, epsilon([(Gaussian(other), others)], 1e-5)) * tolerance
    assert mixed == epsilon([(Gaussian(other), others), sampled], 1e-5)


@pytest.mark.parametrize("event", [PoissonGaussian(0.05, 0.01), TruncatedPoissonGaussian(0.05, 0.01, 1000, 50)])
def test_nearly_no_noise_costs_as_if_nobody_was_sampled(event: PoissonGaussian | TruncatedPoissonGaussian) -> None:
    assert epsilon([(event, 10)], 1e-5) >= epsilon([(Gaussian(0.05), 10)], 1e-5)


def test_absurd_settings_have_a_figure_too() -> None:
    assert epsilon([(PoissonGaussian(0.15, 0.3), 10_000)], 1e-6) > 1e4
    assert epsilon([(PoissonGaussian(100.0, 1e-5), 10)], 1e-6) == 0
    assert epsilon([(PoissonGaussian(0.12, 1e-5), 26)], 0.003) == 0
    # losses so large that they overflow in dp-accounting
    lost = epsilon([(PoissonGaussian(0.1436, 0.00655), 104_219), (PoissonGaussian(0.3828, 0.039), 459)], 4e-7)
    assert 1e4 < lost < epsilon([(Gaussian(0.1436), 104_219), (Gaussian(0.3828), 459)], 4e-7) * 1.0001


def test_nothing_costs_nothing() -> None:
    assert epsilon([], 1e-5) == 0
    assert epsilon([(Gaussian(1.0), 0)], 1e-5) == 0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_that_is_no_probability_is_refused(delta: float) -> None:
    with pytest.raises(ConfigError, match="delta"):
        epsilon([(Gaussian(1.0), 1)], delta)
    with pytest.raises(ConfigError, match="delta"):
        epsilon([], delta)


def test_without_its_library_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    for charge in (Gaussian(1.5), PoissonGaussian(1.5, 0.125)):
        with pytest.raises(MissingExtra, match=r"foedus\[privacy\]"):
            epsilon([(charge, 3)], 1e-5)
    with pytest.raises(MissingExtra, match=r"foedus\[privacy\]"):
        composition.accountant()


def test_the_accountant_is_named_with_its_version_and_its_neighbours() -> None:
    assert "dp-accounting 0." in composition.accountant()
    assert "adding or removing one unit" in composition.accountant()
