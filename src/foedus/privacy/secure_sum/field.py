"""Arithmetic modulo a prime: what Shamir's shares are made of."""

from __future__ import annotations

from dataclasses import dataclass

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError


@dataclass(frozen=True)
class Field:
    """The integers modulo a prime. Elements are Python integers in [0, prime)."""

    prime: int

    @property
    def element_bytes(self) -> int:
        """How many bytes an element takes on the wire."""
        return (self.prime.bit_length() + 7) // 8

    def inverse(self, element: int) -> int:
        """Return the element that makes 1 with this one.

        Raises: ValueError for 0, which has none.
        """
        return pow(element, -1, self.prime)

    def random(self, entropy: Entropy) -> int:
        """Return a uniform element: draws above the prime are thrown away, not folded down."""
        bits = self.prime.bit_length()
        surplus = 8 * self.element_bytes - bits
        while (drawn := int.from_bytes(entropy.draw(self.element_bytes), "big") >> surplus) >= self.prime:
            pass
        return drawn

    def encode(self, element: int) -> bytes:
        """Return the element's one encoding: big-endian, always equally long."""
        return element.to_bytes(self.element_bytes, "big")

    def decode(self, encoded: bytes) -> int:
        """Return the element that these bytes encode.

        Raises: SecureSumError if their number is wrong or they encode the prime or more.
        """
        if len(encoded) != self.element_bytes:
            raise SecureSumError(f"a field element has {len(encoded)} bytes; it must have {self.element_bytes}")
        element = int.from_bytes(encoded, "big")
        if element >= self.prime:
            raise SecureSumError("a field element is not below the prime; a share was damaged or made up")
        return element


# A Mersenne prime well above 2^256, so that a 32-byte secret is one element.
SHARES = Field((1 << 521) - 1)
