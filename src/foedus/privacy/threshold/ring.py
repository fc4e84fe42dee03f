"""The ring that all is computed in: polynomials of degree below N with integer coefficients modulo 2^432, X^N = -1.

A coefficient is written in limbs of 24 bits, the lowest first; an element is an array of limbs by
coefficients. Only products with small polynomials are needed. Each limb's product is an exact integer
that a float64 Fourier transform finds to within less than a half, and carries do the rest.

Percival 2003 ("Rapid multiplication modulo the sum and difference of highly composite numbers", theorem 5.1) bounds
the error of such a product by its factors' norms times, for transforms of 2^13 numbers and the twists, 2^-45.

The modulus is a power of two: plaintexts then sit at whole bits, and dropping low limbs is rounding.
Hardness of decision RLWE does not depend on the modulus' arithmetic: Langlois and Stehlé 2015, ePrint 2012/090.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foedus.core.errors import SecureSumError

Limbs = NDArray[np.uint32]  # Shape: (limbs, N), each below 2^24
Loose = NDArray[np.int64]  # limbs before carries: any sign, below 2^62
Small = NDArray[Any]  # Shape: (N,), coefficients of a few bits
Spectrum = NDArray[np.complex128]

LIMB_BITS = 24
LIMB_BYTES = LIMB_BITS // 8
_MASK = (1 << LIMB_BITS) - 1
_HALF_BITS = LIMB_BITS // 2
_HALF_MASK = (1 << _HALF_BITS) - 1
_WIDE_BITS = 15
_WIDE_MASK = (1 << _WIDE_BITS) - 1


@dataclass(frozen=True)
class Ring:
    """Integers modulo 2^(24 * limbs), adjoined X with X^degree = -1. degree: a power of two."""

    degree: int
    limbs: int

    def __post_init__(self) -> None:
        if self.degree < 4 or self.degree & (self.degree - 1) or self.limbs < 1:
            raise SecureSumError(f"a ring of degree {self.degree} with {self.limbs} limbs was asked for; see RING")

    @property
    def modulus_bits(self) -> int:
        """The binary logarithm of the modulus."""
        return LIMB_BITS * self.limbs

    def element_bytes(self, limbs: int | None = None) -> int:
        """Return the bytes of an element, or of so many of its limbs."""
        return LIMB_BYTES * self.degree * (self.limbs if limbs is None else limbs)

    @cached_property
    def _twist(self) -> Spectrum:
        twist: Spectrum = np.exp(1j * np.pi / self.degree * np.arange(self.degree // 2))
        return twist

    def spectrum(self, limbs: NDArray[Any]) -> Spectrum:
        """Return the transform of each row: X^(N/2) stands for i, and the twist turns X^(N/2) = i into 1.

        Shape: (..., N) to (..., N/2).
        """
        half = self.degree // 2
        folded = np.empty((*limbs.shape[:-1], half), dtype=np.complex128)
        folded.real = limbs[..., :half]
        folded.imag = limbs[..., half:]
        folded *= self._twist
        return np.fft.fft(folded)

    def product(self, element: Spectrum, small: Spectrum) -> Loose:
        """Return the product of an element and a ternary polynomial, both given by their spectra; exact.

        The error is at most 2^(24 + 7) * 2^7 * 2^-45 = 2^-7: rounding to whole numbers undoes it.
        """
        folded = np.fft.ifft(element * small)
        folded *= self._twist.conj()
        loose = np.empty((*folded.shape[:-1], self.degree), dtype=np.int64)
        loose[..., : self.degree // 2] = np.rint(folded.real)
        loose[..., self.degree // 2 :] = np.rint(folded.imag)
        return loose

    def pieces(self, limbs: Limbs) -> Spectrum:
        """Return the spectrum of an element's pieces of 12 bits, the lowest first, for `wide_product`."""
        halves = np.empty((2 * len(limbs), self.degree), dtype=np.uint32)
        halves[0::2], halves[1::2] = limbs & _HALF_MASK, limbs >> _HALF_BITS
        return self.spectrum(halves)

    def wide_product(self, pieces: Spectrum, wide: Small) -> Loose:
        """Return the product of an element and a polynomial with coefficients in [-2^30, 2^30); exact.

        The error is at most 2^(12 + 7) * 2^(15 + 7) * 2^-45 = 2^-4 for each pair of pieces.
        """
        made = np.zeros((len(pieces) // 2, self.degree), dtype=np.int64)
        for step, part in enumerate((wide & _WIDE_MASK, wide >> _WIDE_BITS)):
            products = self.product(pieces, self.spectrum(part))
            for half in (0, 1):
                first, shift = divmod(_HALF_BITS * half + _WIDE_BITS * step, LIMB_BITS)
                made[first:] += products[half::2][: len(made) - first] << shift
        return made

    def add_shifted(self, loose: Loose, element: NDArray[Any], power: int) -> None:
        """Add X^power times an element, 0 <= power < N: what leaves at the top comes back below, sign turned."""
        loose[..., power:] += element[..., : self.degree - power]
        loose[..., :power] -= element[..., self.degree - power :]

    def settled(self, loose: Loose) -> Limbs:
        """Return the element that loose limbs stand for, modulo the modulus. They are overwritten."""
        made = np.empty(loose.shape, dtype=np.uint32)
        carry: Any = 0
        for place in range(loose.shape[0]):
            row = loose[place]
            row += carry
            made[place] = row & _MASK
            carry = row >> LIMB_BITS  # arithmetic: a negative limb borrows
        return made

    def read(self, encoded: bytes | memoryview, *, limbs: int | None = None) -> Limbs:
        """Return the element, or those limbs of it, in these bytes; every string of the right length is one.

        Raises: SecureSumError if their number is another.
        """
        count = self.limbs if limbs is None else limbs
        if len(encoded) != self.element_bytes(count):
            raise SecureSumError(f"a ring element has {len(encoded)} bytes; it must have {self.element_bytes(count)}")
        wide = np.zeros((count, self.degree, 4), dtype=np.uint8)
        wide[..., :LIMB_BYTES] = np.frombuffer(encoded, dtype=np.uint8).reshape(count, self.degree, LIMB_BYTES)
        return wide.view("<u4")[..., 0].astype(np.uint32, copy=False)

    def write(self, limbs: Limbs, out: memoryview) -> None:
        """Put limbs into bytes, 3 a coefficient, limb by limb, the lowest first."""
        narrow = np.ascontiguousarray(limbs, dtype="<u4").view(np.uint8).reshape(*limbs.shape, 4)[..., :LIMB_BYTES]
        np.frombuffer(out, dtype=np.uint8).reshape(narrow.shape)[:] = narrow

    def encode(self, limbs: Limbs) -> bytes:
        """Return the bytes of limbs."""
        made = bytearray(self.element_bytes(len(limbs)))
        self.write(limbs, memoryview(made))
        return bytes(made)


# 128-bit security for ternary secrets and errors of deviation 3.2 needs log2 Q <= 438 at N = 16384: table 1 of the
# HomomorphicEncryption.org standard, Albrecht et al. 2019, ePrint 2019/939. The flood of a decryption takes 120 to 136
# bits of a coefficient whatever the ring: here a third is left over for it, at N = 4096 with 109 bits it has no room.
RING = Ring(16384, 18)
