from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.masks import Layout, Vector, add_masks_in_place, mask_of, word_type
from privacy.secure_sum.federations import entropy, vector_of

KEYS = [bytes(entropy("mask", index).draw(32)) for index in range(4)]


def copied(vector: Vector) -> Vector:
    return tuple(words.copy() for words in vector)


def keystream(key: bytes, count: int) -> bytes:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(count))


@pytest.mark.parametrize("count", [1, 7, 32767, 32768, 32769, 100_003])
def test_a_mask_is_one_unbroken_keystream_over_all_widths(count: int) -> None:
    layout = Layout(((64, 5), (32, count), (16, 9), (8, count)))
    assert layout.to_bytes(mask_of(KEYS[0], layout)) == keystream(KEYS[0], layout.byte_size)


def test_masks_are_added_and_taken_word_by_word_with_wrapping() -> None:
    layout = Layout(((64, 40_000), (32, 50_001), (16, 3), (8, 70_000)))
    vector = copied(vector_of(0, layout))
    add_masks_in_place(vector, KEYS[:2], KEYS[2:])
    masks = [layout.from_bytes(keystream(key, layout.byte_size)) for key in KEYS]
    for place, (width, _) in enumerate(layout.counts):
        plain = vector_of(0, layout)[place].astype(object)
        expected = plain + masks[0][place] + masks[1][place] - masks[2][place] - masks[3][place]
        assert (expected % 2**width == vector[place]).all()


def test_masks_on_another_start_leave_it_as_it_was() -> None:
    layout = Layout(((64, 3), (32, 40_000)))
    start, masked, bare = vector_of(3, layout), layout.zeros(), layout.zeros()
    add_masks_in_place(masked, KEYS[:1], KEYS[1:], start)
    add_masks_in_place(bare, start=start)
    expected = copied(start)
    add_masks_in_place(expected, KEYS[:1], KEYS[1:])
    assert all((got == want).all() for got, want in zip(masked, expected, strict=True))
    assert all((got == want).all() for got, want in zip(bare, vector_of(3, layout), strict=True))


def test_a_mask_that_is_added_and_taken_leaves_nothing() -> None:
    layout = Layout(((32, 100_000),))
    vector = copied(vector_of(1, layout))
    add_masks_in_place(vector, KEYS)
    assert (vector[0] != vector_of(1, layout)[0]).mean() > 0.999
    add_masks_in_place(vector, taken=reversed(KEYS))
    assert (vector[0] == vector_of(1, layout)[0]).all()


@pytest.mark.parametrize("counts", [(), ((32, 1), (64, 1)), ((32, 1), (32, 1)), ((24, 1),), ((32, 0),)])
def test_a_layout_has_known_widths_falling_each_once_and_none_empty(counts: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(SecureSumError):
        Layout(counts)


def test_a_vector_of_another_layout_is_refused() -> None:
    layout = Layout(((32, 2),))
    with pytest.raises(SecureSumError, match="7 bytes; the layout has 8"):
        layout.from_bytes(bytes(7))
    with pytest.raises(SecureSumError, match="do not have the layout"):
        layout.check((np.zeros(3, dtype=word_type(32)),))


def test_a_key_of_another_length_makes_no_mask() -> None:
    with pytest.raises(SecureSumError, match="it must have 32"):
        mask_of(bytes(4), Layout(((32, 2),)))
