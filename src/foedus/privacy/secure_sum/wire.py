"""Canonical bytes: every value has one encoding, and every other string of bytes is refused.

What is signed, hashed and sent are these bytes, so two sides that disagree on a value cannot agree on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from foedus.core.errors import SecureSumError

Ordered = TypeVar("Ordered", int, bytes)

VERSION = 1
DOMAIN = b"foedus secure sum"  # in front of all that is hashed, signed, derived or sent
MAX_TEXT_BYTES = 1024
MAX_ENTRIES = 1 << 20  # participants in one list

DIGEST_BYTES = 32


def number(value: int, size: int) -> bytes:
    """Return an unsigned number in so many bytes, big-endian.

    Raises: SecureSumError if it does not fit.
    """
    if not 0 <= value < 1 << (8 * size):
        raise SecureSumError(f"the number {value} was to be written in {size} bytes; it does not fit")
    return value.to_bytes(size, "big")


def text(value: str) -> bytes:
    """Return a text's length and its UTF-8 bytes.

    Raises: SecureSumError if it is longer than MAX_TEXT_BYTES, or no Unicode.
    """
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise SecureSumError("a name holds half a surrogate pair; use a name that UTF-8 can write") from error
    if len(encoded) > MAX_TEXT_BYTES:
        raise SecureSumError(f"a name has {len(encoded)} bytes; at most {MAX_TEXT_BYTES} are allowed")
    return number(len(encoded), 2) + encoded


def header(kind: int) -> bytes:
    """Return how a message of this kind begins."""
    return DOMAIN + number(VERSION, 1) + number(kind, 1)


def kind_of(message: bytes | memoryview) -> int | None:
    """Return the kind that a message says it is of; None if it is none of this protocol and version."""
    beginning = DOMAIN + number(VERSION, 1)
    if bytes(message[: len(beginning)]) != beginning or len(message) == len(beginning):
        return None
    return message[len(beginning)]


def indices(values: Sequence[int]) -> bytes:
    """Return a list of rising indices."""
    return number(len(values), 4) + b"".join(number(value, 4) for value in values)


class Reader:
    """Takes values from the front of bytes that nobody has checked.

    Every method raises SecureSumError for what its counterpart could not have written.
    """

    def __init__(self, data: bytes | memoryview, what: str) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._what = what

    def header(self, kind: int) -> None:
        """Take the beginning of a message of this kind."""
        if self.take(len(DOMAIN)) != DOMAIN:
            raise self.refusal("does not begin as a message of a secure sum")
        if (version := self.number(1)) != VERSION:
            raise self.refusal(f"is of version {version}; this is version {VERSION}")
        if (found := self.number(1)) != kind:
            raise self.refusal(f"is of kind {found}; expected is {kind}")

    def take(self, count: int) -> bytes:
        """Take so many bytes."""
        return bytes(self.view(count))

    def view(self, count: int) -> memoryview:
        """Take so many bytes, without a copy."""
        if count > len(self._data) - self._at:
            raise self.refusal("is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        """Take an unsigned number of so many bytes."""
        return int.from_bytes(self.view(size), "big")

    def text(self) -> str:
        """Take a text."""
        length = self.number(2)
        if length > MAX_TEXT_BYTES:
            raise self.refusal(f"holds a name of {length} bytes; at most {MAX_TEXT_BYTES} are allowed")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.refusal("holds a name that is not UTF-8") from None

    def entries(self, least_bytes: int) -> int:
        """Take the length of a list whose entries have at least so many bytes each."""
        count = self.number(4)
        if count > MAX_ENTRIES or count * least_bytes > len(self._data) - self._at:
            raise self.refusal(f"announces {count} entries, more than it can hold")
        return count

    def indices(self) -> tuple[int, ...]:
        """Take a list of indices, which must rise."""
        values = tuple(self.number(4) for _ in range(self.entries(4)))
        self.rising(values)
        return values

    def rising(self, values: Sequence[Ordered]) -> None:
        """Refuse a list that is not strictly rising."""
        if list(values) != sorted(set(values)):
            raise self.refusal("holds a list out of order, or something twice")

    def rest(self) -> memoryview:
        """Take all that is left, without a copy."""
        return self.view(len(self._data) - self._at)

    def end(self) -> None:
        """Refuse bytes that are left over."""
        if left := len(self._data) - self._at:
            raise self.refusal(f"has {left} bytes too many")

    def refusal(self, why: str) -> SecureSumError:
        """Return the error for this message."""
        return SecureSumError(f"{self._what} {why}")
