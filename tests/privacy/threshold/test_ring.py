"""The ring's arithmetic against Python's whole numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.threshold.ring import LIMB_BITS, RING, Limbs, Ring
from privacy.secure_sum.federations import entropy
from privacy.threshold.threshold_federations import SMALL


def whole(limbs: Limbs) -> list[int]:
    """Return the coefficients as Python integers."""
    return [sum(int(limb) << (LIMB_BITS * place) for place, limb in enumerate(column)) for column in limbs.T]


def limbs_of(ring: Ring, numbers: list[int]) -> Limbs:
    rows = [[(value >> (LIMB_BITS * place)) & 0xFFFFFF for value in numbers] for place in range(ring.limbs)]
    return np.array(rows, dtype=np.uint32)


def slow_product(ring: Ring, element: list[int], small: list[int]) -> list[int]:
    made = [0] * ring.degree
    for at, left in enumerate(element):
        for more, right in enumerate(small):
            place = at + more
            sign = -1 if place >= ring.degree else 1
            made[place % ring.degree] += sign * left * right
    return [value % (1 << ring.modulus_bits) for value in made]


def product_of(ring: Ring, element: Limbs, small: list[int]) -> list[int]:
    return whole(ring.settled(ring.product(ring.spectrum(element), ring.spectrum(np.array(small)))))


def test_products_are_those_of_whole_numbers() -> None:
    draw = random.Random(3)  # noqa: S311
    for _ in range(20):
        element = [draw.randrange(1 << SMALL.modulus_bits) for _ in range(SMALL.degree)]
        small = [draw.randrange(-1, 2) for _ in range(SMALL.degree)]
        assert product_of(SMALL, limbs_of(SMALL, element), small) == slow_product(SMALL, element, small)


@pytest.mark.parametrize("signs", ["all one", "alternating", "random"])
def test_products_are_exact_at_full_size_where_they_are_greatest(signs: str) -> None:
    """All limbs at their most, no coefficient of the small one 0: coefficient k is a difference of partial sums."""
    small = {
        "all one": np.ones(RING.degree, dtype=np.int64),
        "alternating": np.where(np.arange(RING.degree) % 2, -1, 1),
        "random": np.where(np.frombuffer(entropy("signs").draw(RING.degree), dtype=np.uint8) % 2, -1, 1),
    }[signs]
    element = np.full((RING.limbs, RING.degree), (1 << LIMB_BITS) - 1, dtype=np.uint32)
    upto = np.cumsum(small)
    expected = ((1 << LIMB_BITS) - 1) * (2 * upto - upto[-1])
    loose = RING.product(RING.spectrum(element), RING.spectrum(small))
    assert (loose == expected).all()


def test_the_transforms_error_stays_below_the_bound_that_makes_rounding_right() -> None:
    """The docstring says 2^-7 at worst; measured at random it is smaller by far, and must not grow near a half."""
    words = np.frombuffer(entropy("words").draw(4 * RING.degree), dtype="<u4") & 0xFFFFFF
    small = np.frombuffer(entropy("small").draw(RING.degree), dtype=np.uint8) % 3 - 1.0
    folded = np.fft.ifft(RING.spectrum(words[None]) * RING.spectrum(small)) * RING._twist.conj()
    parts = np.concatenate([folded.real, folded.imag])
    assert np.abs(parts - np.rint(parts)).max() < 2**-7


def test_wide_products_and_shifts_are_those_of_whole_numbers() -> None:
    draw = random.Random(4)  # noqa: S311
    for _ in range(20):
        element = [draw.randrange(1 << SMALL.modulus_bits) for _ in range(SMALL.degree)]
        wide = [draw.choice((-(1 << 30), (1 << 30) - 1, draw.randrange(-(1 << 30), 1 << 30))) for _ in element]
        limbs = limbs_of(SMALL, element)
        made = SMALL.settled(SMALL.wide_product(SMALL.pieces(limbs), np.array(wide)))
        assert whole(made) == slow_product(SMALL, element, wide)
        power = draw.randrange(SMALL.degree)
        loose = np.zeros(limbs.shape, dtype=np.int64)
        SMALL.add_shifted(loose, limbs, power)
        expected = slow_product(SMALL, element, [int(at == power) for at in range(SMALL.degree)])
        assert whole(SMALL.settled(loose)) == expected


def test_wide_products_are_exact_at_full_size_where_they_are_greatest() -> None:
    """All pieces at their most: the product with a constant polynomial of ones is known."""
    element = np.full((RING.limbs, RING.degree), (1 << LIMB_BITS) - 1, dtype=np.uint32)
    ones = np.full(RING.degree, (1 << 30) - 1, dtype=np.int64)
    upto = np.arange(1, RING.degree + 1)
    every = (1 << RING.modulus_bits) - 1
    made = RING.settled(RING.wide_product(RING.pieces(element), ones))
    for at in (0, 1, RING.degree // 2, RING.degree - 1):
        expected = every * ((1 << 30) - 1) * int(2 * upto[at] - RING.degree) % (1 << RING.modulus_bits)
        assert whole(made[:, at : at + 1]) == [expected]


def test_carries_borrow_from_above_and_wrap_at_the_modulus() -> None:
    loose = np.zeros((SMALL.limbs, SMALL.degree), dtype=np.int64)
    loose[0, 0], loose[0, 1], loose[8, 2], loose[3, 3] = -1, 1 << 60, 1 << 24, -(1 << 61)
    made = whole(SMALL.settled(loose))
    modulus = 1 << SMALL.modulus_bits
    assert made[:4] == [modulus - 1, 1 << 60, 0, modulus - (1 << (61 + 72))]
    assert not any(made[4:])


def test_elements_have_one_encoding_and_other_lengths_are_refused() -> None:
    draw = random.Random(5)  # noqa: S311
    data = draw.randbytes(SMALL.element_bytes())
    element = SMALL.read(data)
    assert SMALL.encode(element) == data
    assert whole(element)[1] == sum(
        data[3 + 48 * limb + byte] << (24 * limb + 8 * byte) for limb in range(9) for byte in range(3)
    )
    for length in (0, len(data) - 1, len(data) + 1, 2 * len(data)):
        with pytest.raises(SecureSumError, match="a ring element has"):
            SMALL.read(bytes(length))


def test_rings_that_are_none_are_refused() -> None:
    for degree, limbs in ((12, 9), (2, 9), (16, 0)):
        with pytest.raises(SecureSumError, match="was asked for"):
            Ring(degree, limbs)


def test_the_ring_in_use_is_in_the_standards_table_for_128_bits() -> None:
    most = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438}  # ternary secrets, classical attacks
    assert RING.modulus_bits <= most[RING.degree]
