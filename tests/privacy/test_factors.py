import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from foedus.core.errors import ConfigError
from foedus.privacy.buffer_fit import fitted_buffers
from foedus.privacy.factors import BandedSquareRoot, BufferedToeplitz, Factor, running_sum_error, sensitivity

FACTORS: list[Factor] = [
    BandedSquareRoot(1),
    BandedSquareRoot(4),
    BandedSquareRoot(12),
    BufferedToeplitz((0.5,), (0.9,)),
    BufferedToeplitz((0.3, 0.2), (0.4, 0.95)),
]
ROUNDS = 12


def matrix(factor: Factor, rounds: int = ROUNDS) -> NDArray[np.float64]:
    column = factor.column(rounds)
    return np.array([[column[i - j] if i >= j else 0.0 for j in range(rounds)] for i in range(rounds)])


@pytest.mark.parametrize("factor", FACTORS)
def test_a_column_starts_at_one_and_never_rises_or_turns_negative(factor: Factor) -> None:
    column = factor.column(ROUNDS)
    assert column.shape == (ROUNDS,)
    assert column[0] == 1
    assert (np.diff(column) <= 0).all()
    assert (column >= 0).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_the_inverse_column_is_that_of_the_inverse_matrix(factor: Factor) -> None:
    np.testing.assert_allclose(factor.inverse_column(ROUNDS), np.linalg.inv(matrix(factor))[:, 0], atol=1e-14)


def test_all_bands_are_the_square_root_of_running_sums() -> None:
    root = matrix(BandedSquareRoot(ROUNDS))
    np.testing.assert_allclose(root @ root, np.tril(np.ones((ROUNDS, ROUNDS))), atol=1e-14)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("separation", "most"), [(1, 12), (3, 2), (4, 12), (5, 12), (12, 1)])
def test_no_allowed_participation_costs_more_than_the_sensitivity(factor: Factor, separation: int, most: int) -> None:
    square = matrix(factor)
    worst = 0.0
    for times in range(most + 1):
        for rounds in itertools.combinations(range(ROUNDS), times):
            if all(later - sooner >= separation for sooner, later in itertools.pairwise(rounds)):
                worst = max(worst, float(np.linalg.norm(square[:, list(rounds)].sum(axis=1))))
        if times * separation > ROUNDS + separation:
            break
    assert sensitivity(factor, ROUNDS, separation, most) == pytest.approx(worst)


def test_published_errors_of_200_rounds_at_separation_20_are_met() -> None:
    def figure(factor: Factor) -> float:
        return running_sum_error(factor, 200) * sensitivity(factor, 200, 20, 10)

    assert figure(BandedSquareRoot(1)) == pytest.approx(31.7, abs=0.05)
    assert figure(BandedSquareRoot(20)) == pytest.approx(10.4, abs=0.05)
    assert figure(fitted_buffers(200, 20, 10)) == pytest.approx(10.58, abs=0.01)


@given(st.integers(1, 60), st.integers(1, 20))
def test_the_running_sum_error_is_that_of_the_matrices(rounds: int, bands: int) -> None:
    factor = BandedSquareRoot(bands)
    noise_to_sum = np.tril(np.ones((rounds, rounds))) @ np.linalg.inv(matrix(factor, rounds))
    expected = np.sqrt(np.mean((noise_to_sum**2).sum(axis=1)))
    assert running_sum_error(factor, rounds) == pytest.approx(expected)


def test_fitted_buffers_are_found_again() -> None:
    assert fitted_buffers(50, 10, 5) == fitted_buffers(50, 10, 5)


@pytest.mark.parametrize(
    ("scales", "decays"),
    [((), ()), ((0.5,), (0.5, 0.5)), ((0.6, 0.5), (0.1, 0.1)), ((-0.1,), (0.5,)), ((0.5,), (1.1,))],
)
def test_buffers_of_unknown_sensitivity_are_refused(scales: tuple[float, ...], decays: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="correlated noise"):
        BufferedToeplitz(scales, decays)


def test_no_bands_and_no_buffers_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        BandedSquareRoot(0)
    with pytest.raises(ConfigError, match="at least 1"):
        fitted_buffers(50, 10, 5, buffers=0)
