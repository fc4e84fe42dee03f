"""What words become before they are encrypted adds up to what the words add up to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum.parameters import DEGREE, choose
from foedus.privacy.encrypted_sum.slots import ciphertexts_of, pack, unpack
from foedus.privacy.secure_sum.masks import Layout, Vector
from privacy.secure_sum.federations import plain_sum


def vector(layout: Layout, largest: int, random: np.random.Generator) -> Vector:
    """Return words at the ends of what is allowed, and between."""
    words = []
    for width, count in layout.counts:
        low, high = (-largest, largest) if width == 32 else (-(1 << (width - 1)), (1 << (width - 1)) - 1)
        drawn = random.integers(low, high, count, endpoint=True)
        extreme = random.choice([low, high], count)
        words.append(
            np.where(random.random(count) < 0.5, drawn, extreme).astype(f"<i{width // 8}").view(f"<u{width // 8}")
        )
    return tuple(words)


@given(
    st.integers(1, 300),
    st.dictionaries(st.sampled_from([64, 32, 16, 8]), st.integers(1, 40), min_size=1),
    st.integers(0, 1 << 32),
)
@settings(max_examples=150, deadline=None)
def test_sums_of_packed_integers_unpack_to_sums_of_words(count: int, sizes: dict[int, int], seed: int) -> None:
    layout = Layout(tuple((width, sizes[width]) for width in sorted(sizes, reverse=True)))
    chosen, random = choose(count), np.random.default_rng(seed)
    summed = min(count, 5)
    vectors = [vector(layout, chosen.largest, random) for _ in range(summed - 1)]
    vectors += [vector(layout, chosen.largest, random)] * (count - summed + 1)  # as many as there may be
    packed = [pack(each, layout, chosen) for each in vectors[:summed]]
    total = sum(packed[:-1]) + packed[-1] * (count - summed + 1)
    assert len(packed[0]) == DEGREE * ciphertexts_of(layout, chosen)
    assert np.abs(total).max() <= 2 ** (chosen.value_bits * chosen.together - 1)
    for got, want in zip(unpack(total, layout, chosen), plain_sum(vectors, layout), strict=True):
        assert np.array_equal(got, want)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_whose_sum_might_not_fit_is_refused(sign: int) -> None:
    layout, chosen = Layout(((32, 3),)), choose(6)
    words = np.array([0, sign * (chosen.largest + 1), 0], dtype="<i4").view("<u4")
    with pytest.raises(SecureSumError, match=f"beyond {chosen.largest} steps"):
        pack((words,), layout, chosen)


def test_a_million_values_take_123_ciphertexts() -> None:
    assert ciphertexts_of(Layout(((32, 1_000_000),)), choose(6)) == 123
