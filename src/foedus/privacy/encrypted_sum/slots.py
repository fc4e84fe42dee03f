"""From words to the integers that are encrypted, and from sums of these back to words.

Words of 32 bits are values that their packing keeps within the parameters' bound; all others are cut into
digits, whose sums are put together again modulo the word's size. Either way several small signed values,
`together` of them, stand in one integer, in digits of `value_bits`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum.parameters import DEGREE, Parameters
from foedus.privacy.secure_sum.masks import Layout, Vector, word_type

Integers = NDArray[np.int64]

VALUES_WIDTH = 32


def ciphertexts_of(layout: Layout, parameters: Parameters) -> int:
    """Return how many ciphertexts hold a vector."""
    values = sum(count * _pieces(width, parameters) for width, count in layout.counts)
    return -(-values // (parameters.together * DEGREE))


def pack(vector: Vector, layout: Layout, parameters: Parameters) -> Integers:
    """Return the integers of whole ciphertexts; what is left over is 0.

    Raises: SecureSumError if a word of 32 bits is larger than the parameters allow.
    """
    size = ciphertexts_of(layout, parameters) * parameters.together * DEGREE
    values, end = np.zeros(size, dtype=np.int64), 0
    for (width, count), words in zip(layout.counts, vector, strict=True):
        begin, end = end, end + count * _pieces(width, parameters)
        piece = values[begin:end]
        if width == VALUES_WIDTH:
            piece[:] = words.view("<i4")
            if int(piece.max()) > parameters.largest or int(piece.min()) < -parameters.largest:
                raise SecureSumError(
                    f"a value lies beyond {parameters.largest} steps, so that the sum might not fit; use a coarser grid"
                )
        else:
            _write_digits(words, piece.reshape(-1, count), parameters.digit_bits)
    packed = values[parameters.together - 1 :: parameters.together].copy()
    for place in reversed(range(parameters.together - 1)):
        packed <<= parameters.value_bits
        packed += values[place :: parameters.together]
    return packed


def unpack(sums: Integers, layout: Layout, parameters: Parameters) -> Vector:
    """Return the words' sums from the integers'."""
    bits = parameters.value_bits
    half, mask = 1 << (bits - 1), (1 << bits) - 1
    values, rest = np.empty(len(sums) * parameters.together, dtype=np.int64), sums
    for place in range(parameters.together - 1):
        digit = ((rest + half) & mask) - half
        values[place :: parameters.together] = digit
        rest = (rest - digit) >> bits
    values[parameters.together - 1 :: parameters.together] = rest
    vector, end = [], 0
    for width, count in layout.counts:
        begin, end = end, end + count * _pieces(width, parameters)
        piece = values[begin:end]
        if width != VALUES_WIDTH:
            piece = _joined(piece.reshape(-1, count), parameters.digit_bits)
        vector.append(piece.astype(word_type(width)))
    return tuple(vector)


def _pieces(width: int, parameters: Parameters) -> int:
    """Return how many values a word becomes."""
    return 1 if width == VALUES_WIDTH else -(-width // parameters.digit_bits)


def _write_digits(words: NDArray[np.unsignedinteger], digits: Integers, bits: int) -> None:
    """Cut words into digits. digits: Shape (digits of a word, words), the lowest first."""
    rest = words.astype(np.uint64)
    for row in digits:
        row[:] = (rest & np.uint64((1 << bits) - 1)).astype(np.int64)
        rest >>= np.uint64(bits)


def _joined(digits: Integers, bits: int) -> Integers:
    """Return the words that digits, or sums of them, stand for, modulo 2^64."""
    total = np.zeros(digits.shape[1], dtype=np.int64)
    for place, row in enumerate(digits):
        total += row << (bits * place)
    return total
