"""Parameters are secure by the standard's table, leave room for sums, and state a true bound of the error."""

from __future__ import annotations

import math
import os
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from foedus.core.errors import MissingExtra, SecureSumError
from foedus.privacy.encrypted_sum import coefficients
from foedus.privacy.encrypted_sum.parameters import (
    DEGREE,
    LEAST_LEVELS,
    MODULI,
    STEP_OVER_ERROR,
    Parameters,
    choose,
    error_bound,
)
from foedus.privacy.encrypted_sum.seal import SharedKey, require_library, rounded
from foedus.privacy.encrypted_sum.slots import Integers

MANY = [2, 3, 6, 10, 25, 26, 80, 100, 150, 1000, 20_000]
ALLOWED_BITS = {128: 109, 192: 75, 256: 58}  # at degree 4096: HomomorphicEncryption.org, ternary secret, classical


def test_the_moduli_are_primes_of_the_ring_and_within_the_standards_table() -> None:
    seal = require_library()
    for bits, modulus in MODULI.items():
        assert modulus == seal.CoeffModulus.Create(DEGREE, [bits])[0].value()
        assert seal.Modulus(modulus).is_prime()
        assert modulus % (2 * DEGREE) == 1
        assert modulus.bit_length() in (bits, bits + 1)
        assert math.log2(modulus) < ALLOWED_BITS[192]
    assert math.log2(MODULI[56]) < ALLOWED_BITS[256]
    for security, allowed in ALLOWED_BITS.items():
        level = getattr(seal.SEC_LEVEL_TYPE, f"TC{security}")
        assert seal.CoeffModulus.MaxBitCount(DEGREE, level) == allowed


@pytest.mark.parametrize("count", MANY)
def test_sums_of_the_largest_values_fit_and_a_step_is_eight_error_bounds(count: int) -> None:
    chosen = choose(count)
    assert chosen.error * STEP_OVER_ERROR <= 1
    assert count * chosen.largest < 1 << (chosen.value_bits - 1)
    assert count * ((1 << chosen.digit_bits) - 1) < 1 << (chosen.value_bits - 1)
    largest_number = 2.0 ** (chosen.value_bits * chosen.together - 1)
    assert math.sqrt(2) * largest_number * 2.0**chosen.scale_bits + 32 * count < chosen.modulus / 2
    assert chosen.largest >= LEAST_LEVELS


def test_two_values_share_a_number_where_the_error_allows_it_and_one_has_it_where_not() -> None:
    assert [choose(count).together for count in (10, 100, 1000)] == [2, 2, 1]
    upload = [2 * choose(count).coefficient_bytes / choose(count).together / 4 for count in (10, 100, 1000)]
    assert upload == [1.75, 2.0, 3.5]


def test_too_many_participants_are_refused_with_what_to_do() -> None:
    with pytest.raises(SecureSumError, match="use fewer participants in a round, or secure_sum: masks"):
        choose(1 << 20)


@pytest.mark.parametrize("count", [1, 8])
def test_errors_have_the_deviation_that_the_bound_is_made_of(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 ciphertexts of 4096 errors: the deviation's own is 0.23 %, so that 5 % off is no accident."""
    chosen = choose(10)
    key = SharedKey(chosen, os.urandom(64))
    seen: list[NDArray[np.float64]] = []

    def watched(numbers: NDArray[np.float64], parameters: Parameters) -> Integers:
        seen.append(numbers)
        return rounded(numbers, parameters)

    monkeypatch.setattr("foedus.privacy.encrypted_sum.seal.rounded", watched)
    integers = np.random.default_rng(0).integers(-(10**9), 10**9, 24 * DEGREE)
    total = coefficients.zeros(24)
    for _ in range(count):
        coefficients.add_in_place(total, key.encrypt(integers), chosen)
    assert np.array_equal(key.decrypt(total), count * integers)
    errors = (seen[0] - count * integers) * 2.0**chosen.scale_bits
    expected = math.sqrt(count * DEGREE / 2 * (10.5 + 1 / 12))
    assert errors.std() == pytest.approx(expected, rel=0.05)
    assert np.abs(errors).max() < error_bound(count)
    assert error_bound(count) < 11 * errors.std()


@pytest.mark.parametrize("off", [0.12, -0.3, 0.5, float("nan"), float("inf")])
def test_a_decryption_off_the_grid_gives_nothing_out(off: float) -> None:
    chosen = choose(4)
    assert chosen.error < 0.12
    numbers = np.arange(8.0)
    assert np.array_equal(rounded(numbers + 0.9 * chosen.error, chosen), np.arange(8))
    numbers[5] += off
    with pytest.raises(SecureSumError, match="nothing is given out"):
        rounded(numbers, chosen)


def test_a_key_follows_from_its_seed_and_another_seed_opens_nothing() -> None:
    chosen, seed = choose(3), os.urandom(64)
    integers = np.random.default_rng(1).integers(-(10**9), 10**9, 2 * DEGREE)
    one, same, other = SharedKey(chosen, seed), SharedKey(chosen, seed), SharedKey(chosen, os.urandom(64))
    first, second = one.encrypt(integers), one.encrypt(integers)
    assert not np.array_equal(first, second)
    assert np.array_equal(same.decrypt(first), integers)
    with pytest.raises(SecureSumError, match="nothing is given out"):
        other.decrypt(first)
    assert "secret" in repr(one)
    with pytest.raises(ValueError, match="must have 64"):
        SharedKey(chosen, seed[:32])


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenseal", None)
    with pytest.raises(MissingExtra, match=r"foedus\[he\]"):
        require_library()


def test_ciphertexts_look_uniform_modulo_the_prime() -> None:
    """65,536 coefficients in 16 bins: chi-square with 15 degrees passes 56 by chance once in a million."""
    chosen = choose(4)
    encrypted = SharedKey(chosen, os.urandom(64)).encrypt(np.zeros(8 * DEGREE, dtype=np.int64))
    bins = np.bincount((encrypted.reshape(-1).astype(np.float64) * 16 / chosen.modulus).astype(int), minlength=16)
    expected = encrypted.size / 16
    assert ((bins - expected) ** 2 / expected).sum() < 56
