"""Secrets, errors and floods have the distributions that the argument needs."""

from __future__ import annotations

from hashlib import shake_256

import numpy as np

from foedus.core.entropy import Entropy
from foedus.privacy.threshold.ring import LIMB_BITS, RING
from foedus.privacy.threshold.sampling import ERROR_VARIANCE, common, error, flood, ternary
from privacy.secure_sum.federations import entropy
from privacy.threshold.threshold_federations import SMALL


def many(draw: object, count: int = 24) -> np.ndarray:
    stream = entropy("many", draw.__name__)  # type: ignore[attr-defined]
    return np.concatenate([draw(RING, stream) for _ in range(count)])  # type: ignore[operator]


def test_ternary_secrets_are_uniform_and_others_are_told_apart() -> None:
    """Chi-squared with 2 degrees of freedom: above 27.6 by chance once in a million; a third too many zeros is not."""
    drawn = many(ternary)
    counts = np.array([(drawn == value).sum() for value in (-1, 0, 1)])
    assert counts.sum() == len(drawn)

    def distance(seen: np.ndarray) -> float:
        expected = seen.sum() / 3
        return float(((seen - expected) ** 2 / expected).sum())

    assert distance(counts) < 27.6
    assert distance(counts + np.array([0, len(drawn) // 90, 0])) > 27.6


def test_errors_have_the_stated_variance_and_two_thirds_or_three_halves_of_it_are_told_apart() -> None:
    """The deviation of the estimated variance is 10.5 sqrt(2 / 196608), 0.03: five of them are 0.17."""
    drawn = many(error)
    assert np.abs(drawn).max() <= 21
    assert abs(drawn.mean()) < 5 * np.sqrt(ERROR_VARIANCE / len(drawn))
    variance = float((drawn.astype(float) ** 2).mean())
    assert abs(variance - ERROR_VARIANCE) < 0.17
    assert abs(variance * 2 / 3 - ERROR_VARIANCE) > 0.17
    assert abs(variance * 3 / 2 - ERROR_VARIANCE) > 0.17


def test_floods_are_uniform_over_exactly_the_stated_range() -> None:
    for bits in (1, 23, 24, 47, 68):
        loose = flood(RING, bits, entropy("flood", bits))
        numbers = [sum(int(limb) << (LIMB_BITS * place) for place, limb in enumerate(column)) for column in loose.T]
        limit = 1 << bits
        assert -limit <= min(numbers)
        assert max(numbers) < limit
        scaled = np.array([number / limit for number in numbers])
        grid = max(2.0**-bits, 2.0**-40)  # a uniform one in [-1, 1) of that step
        assert abs(scaled.mean() + grid / 2) < 5 / np.sqrt(3 * RING.degree)
        variance = 1 / 3 * (1 - grid**2 / 4)
        assert abs((scaled**2).mean() - variance - grid**2 / 4) < (0.02 if bits > 1 else 0.05)


def test_the_shared_polynomial_is_a_hash_of_the_transcript() -> None:
    seed = b"foedus secure sum\x01 threshold common polynomial\x00" + b"t" * 32
    made = SMALL.encode(common(SMALL, b"t" * 32))
    assert made == shake_256(seed).digest(SMALL.element_bytes())
    assert made != SMALL.encode(common(SMALL, b"u" * 32))


def test_secret_streams_never_give_the_same_twice() -> None:
    assert (ternary(RING, Entropy.secret()) != ternary(RING, Entropy.secret())).any()
    stream = Entropy.secret()
    assert (error(RING, stream) != error(RING, stream)).any()
