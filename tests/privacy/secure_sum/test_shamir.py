from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum import shamir
from foedus.privacy.secure_sum.field import SHARES, Field
from privacy.secure_sum.federations import entropy

SMALL = Field(5)


def test_every_subset_that_reaches_the_threshold_opens_the_secret_in_a_small_field() -> None:
    for secret, threshold in itertools.product(range(5), range(1, 5)):
        shares = shamir.split(secret, threshold, [1, 2, 3, 4], SMALL, entropy(secret, threshold))
        for size in range(threshold, 5):
            for subset in itertools.combinations(shares, size):
                assert shamir.combine({point: shares[point] for point in subset}, threshold, SMALL) == secret


def test_in_a_small_field_fewer_shares_fit_every_secret_equally_often() -> None:
    """All polynomials of degree 2 over the integers modulo 5, through the same code as shares."""
    for points in itertools.combinations([1, 2, 3, 4], 2):
        seen: dict[int, Counter[tuple[int, ...]]] = {}
        for secret in range(5):
            seen[secret] = Counter(
                tuple(shamir._evaluate(coefficients, secret, point, 5) for point in points)
                for coefficients in itertools.product(range(5), repeat=2)
            )
        assert all(counts == seen[0] for counts in seen.values())
        assert set(seen[0].values()) == {1}
        assert len(seen[0]) == 25


def test_one_share_less_than_the_threshold_opens_a_wrong_secret() -> None:
    shares = dict(shamir.split(7, 3, [1, 2, 3, 4], SHARES, entropy()))
    assert shamir.combine({point: shares[point] for point in (1, 2)}, 2, SHARES) != 7
    with pytest.raises(SecureSumError, match="2 shares of a secret; 3 are needed"):
        shamir.combine({1: shares[1], 4: shares[4]}, 3, SHARES)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, SHARES.prime - 1), st.integers(1, 12), st.integers(0, 8), st.randoms(use_true_random=False))
def test_any_threshold_of_shares_opens_the_secret(secret: int, threshold: int, more: int, random: object) -> None:
    points = list(range(1, threshold + more + 1))
    shares = shamir.split(secret, threshold, points, SHARES, entropy(threshold))
    chosen = random.sample(points, threshold)  # type: ignore[attr-defined]
    assert shamir.combine({point: shares[point] for point in chosen}, threshold, SHARES) == secret


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [(1, 0, [1]), (1, 3, [1, 2]), (1, 1, [0, 1]), (1, 1, [1, 1]), (5, 1, [1]), (1, 1, [5])],
)
def test_sharing_that_would_not_hide_or_not_open_is_refused(secret: int, threshold: int, points: list[int]) -> None:
    with pytest.raises(SecureSumError):
        shamir.split(secret, threshold, points, SMALL, entropy())


def test_random_elements_of_a_small_field_are_uniform() -> None:
    """Chi-squared with 4 degrees of freedom; 20 is exceeded by chance once in 2000 fixed seeds."""
    stream, draws = entropy("elements"), 5000
    counts = Counter(SMALL.random(stream) for _ in range(draws))
    assert set(counts) == set(range(5))
    assert sum((counts[element] - draws / 5) ** 2 / (draws / 5) for element in range(5)) < 20


def test_an_element_has_one_encoding_and_the_prime_has_none() -> None:
    assert SHARES.decode(SHARES.encode(SHARES.prime - 1)) == SHARES.prime - 1
    with pytest.raises(SecureSumError, match="not below the prime"):
        SHARES.decode(SHARES.prime.to_bytes(SHARES.element_bytes, "big"))
    with pytest.raises(SecureSumError, match="it must have 66"):
        SHARES.decode(bytes(65))


def test_every_element_but_0_has_an_inverse() -> None:
    assert [element * SMALL.inverse(element) % 5 for element in range(1, 5)] == [1] * 4
    with pytest.raises(ValueError, match="not invertible"):
        SMALL.inverse(0)
