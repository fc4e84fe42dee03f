"""Masks: keystreams added to, or taken from, vectors of words, modulo the words' size.

A vector is one array of unsigned words for each width. Addition wraps, which is the group that masks
cancel in. The keystream is AES-256-CTR; a key makes one mask and is never used again, so its nonce is 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from foedus.core.errors import SecureSumError

Words = NDArray[Any]  # unsigned integers of one width, one axis
Vector = tuple[Words, ...]  # in the order of a Layout's widths

KEY_BYTES = 32
WIDTHS = (64, 32, 16, 8)  # bits of a word
_CHUNK = 1 << 17  # bytes: the sum and one mask's piece stay in the processor's cache
_ZEROS = bytes(_CHUNK)


@dataclass(frozen=True)
class Layout:
    """How many words of which width a vector has: widths in bits, falling, each once."""

    counts: tuple[tuple[int, int], ...]  # (width, number of words)

    def __post_init__(self) -> None:
        widths = [width for width, _ in self.counts]
        if not widths or widths != sorted(set(widths), reverse=True) or not set(widths) <= set(WIDTHS):
            raise SecureSumError(f"words of {widths} bits were asked for; allowed are {WIDTHS}, each once, falling")
        if any(count < 1 for _, count in self.counts):
            raise SecureSumError("a vector's layout names a width that it has no words of; leave that width out")

    @property
    def byte_size(self) -> int:
        """The bytes of such a vector."""
        return sum(width // 8 * count for width, count in self.counts)

    def zeros(self) -> Vector:
        """Return a vector of zeros."""
        return tuple(np.zeros(count, dtype=word_type(width)) for width, count in self.counts)

    def to_bytes(self, vector: Vector) -> bytes:
        """Return the vector's one encoding: little-endian words, wide ones first."""
        self.check(vector)
        return b"".join(np.ascontiguousarray(words).data for words in vector)

    def from_bytes(self, encoded: bytes | memoryview) -> Vector:
        """Return the vector in these bytes, without a copy.

        Raises: SecureSumError if their number is not the layout's.
        """
        if len(encoded) != self.byte_size:
            raise SecureSumError(f"a masked vector has {len(encoded)} bytes; the layout has {self.byte_size}")
        vector, offset = [], 0
        for width, count in self.counts:
            vector.append(np.frombuffer(encoded, dtype=word_type(width), count=count, offset=offset))
            offset += width // 8 * count
        return tuple(vector)

    def check(self, vector: Vector) -> None:
        """Return if the vector has this layout.

        Raises: SecureSumError otherwise.
        """
        if [(words.dtype, words.shape) for words in vector] != [(word_type(w), (n,)) for w, n in self.counts]:
            raise SecureSumError("a vector's words do not have the layout that was agreed on")


def word_type(width: int) -> np.dtype[Any]:
    """Return the type of little-endian words of so many bits."""
    return np.dtype(f"<u{width // 8}")


def add_vector_in_place(total: Vector, vector: Vector) -> None:
    """Add a vector to `total`; words wrap."""
    for words, more in zip(total, vector, strict=True):
        np.add(words, more, out=words)


def add_masks_in_place(
    vector: Vector, added: Iterable[bytes] = (), taken: Iterable[bytes] = (), start: Vector | None = None
) -> None:
    """Add the masks of some keys to a vector, and take those of others from it.

    start: the vector to begin with in place of what `vector` holds, which is then overwritten.
    The loop over pieces of the vector is the outer one: each piece gets all its masks while it lies
    in the cache, so the time is little more than that of the keystreams.
    """
    streams = [(_keystream(key), np.add) for key in added] + [(_keystream(key), np.subtract) for key in taken]
    buffer = bytearray(_CHUNK + 16)  # the cipher asks for room for one more block
    for words, begun in zip(vector, start or vector, strict=True):
        per_chunk = _CHUNK // words.itemsize
        for begin in range(0, len(words), per_chunk):
            piece, source = words[begin : begin + per_chunk], begun[begin : begin + per_chunk]
            zeros = _ZEROS if piece.nbytes == _CHUNK else _ZEROS[: piece.nbytes]
            mask = np.frombuffer(buffer, dtype=words.dtype, count=len(piece))
            for stream, combine in streams:
                stream.update_into(zeros, buffer)
                combine(source, mask, out=piece)
                source = piece
            if source is not piece and start is not None:
                piece[:] = source


def mask_of(key: bytes, layout: Layout) -> Vector:
    """Return the mask of one key."""
    vector = layout.zeros()
    add_masks_in_place(vector, [key])
    return vector


def _keystream(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise SecureSumError(f"a mask's key has {len(key)} bytes; it must have {KEY_BYTES}")
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
