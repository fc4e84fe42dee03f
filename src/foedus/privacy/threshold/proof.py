"""A proof that ring elements are a * u + f with short u and f, for all of one participant's at once.

EXPERIMENTAL: not reviewed by an outside cryptographer.

Without it, a participant could send something else than a ciphertext, such as a multiple of the plaintext's unit,
and have the others' key opened. With R rows, elements t_1 … t_k and challenges c_rb that are powers of X,

    w_r = a y_r + y'_r                       y, y' uniform in [-2^30, 2^30)
    c   = powers from SHA-256 of all w and of what the proof is for (Fiat and Shamir 1986)
    z_r = y_r + sum_b c_rb u_b,   z'_r = y'_r + sum_b c_rb f_b
    check: a z_r + z'_r - sum_b c_rb t_b gives the same hash, and no z is larger than allowed.

*Sound.* Let t_b be such that 2 t_b is not a * v + g with v, g below 2^31 N. Then for any w and any other challenges, at
most one c_rb passes in each row: from two, X^i and X^j, follows (X^i - X^j) t_b = a dz + dz', and 2 / (X^i - X^j) has
coefficients -1, 0, 1 (Benhamouda, Camenisch, Krenn, Lyubashevsky, Neven 2014, ePrint 2014/889, lemma 3.1). So a
cheater's chance is k N^-R for each hash that it computes, 2^-130 for k = 1024: this needs no assumption but SHA-256's.
What is shown is about 2 t_b, so twice the sum is what gets opened.

*Tells nothing.* A z is given out only if it lies so far inside that every u, f gives it with the same probability; else
all is drawn anew (Lyubashevsky 2009, "Fiat-Shamir with aborts"). Its place inside is uniform then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256, shake_256

import numpy as np
from numpy.typing import NDArray

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.wire import DIGEST_BYTES, DOMAIN, VERSION, number
from foedus.privacy.threshold.ring import Limbs, Ring, Small, Spectrum
from foedus.privacy.threshold.sampling import ERROR_PAIRS, WIDE_BITS, wide

ROWS = 10
MOST_ELEMENTS = 1024
_MOST_ATTEMPTS = 1000  # even with the most elements one in a hundred is given out
_POWER_BYTES = 2

Rows = NDArray[np.int64]  # Shape: (ROWS, N)


@dataclass(frozen=True)
class Short:
    """What one element is made of: it is a * factor + offset."""

    factor: Small = field(repr=False)
    offset: Small = field(repr=False)


def proof_bytes(ring: Ring) -> int:
    """Return the length of every proof."""
    return DIGEST_BYTES + 2 * ROWS * ring.degree * 4


@dataclass(frozen=True)
class Claim:
    """What is proved: that these elements are well formed, under `a` given by its pieces, in this context."""

    ring: Ring
    shared: Spectrum = field(repr=False)
    elements: Sequence[Limbs] = field(repr=False)
    context: bytes

    def __post_init__(self) -> None:
        if len(self.elements) > MOST_ELEMENTS:
            raise SecureSumError(
                f"{len(self.elements)} polynomials were to be proved at once; at most {MOST_ELEMENTS} are. Use masks"
            )

    @cached_property
    def digest(self) -> bytes:
        """The hash of all of it but `a`, which the context names."""
        hashed = sha256(DOMAIN + number(VERSION, 1) + b" threshold claim\x00" + sha256(self.context).digest())
        for element in self.elements:
            hashed.update(self.ring.encode(element))
        return hashed.digest()


def prove(claim: Claim, made_of: Sequence[Short], entropy: Entropy) -> bytes:
    """Return a proof of the claim. made_of: the secrets of each of its elements."""
    ring = claim.ring
    for _ in range(_MOST_ATTEMPTS):
        factors = np.stack([wide(ring, entropy) for _ in range(ROWS)])
        offsets = np.stack([wide(ring, entropy) for _ in range(ROWS)])
        digest = _digest(claim, [_combined(claim, y, more) for y, more in zip(factors, offsets, strict=True)])
        powers = _powers(ring, digest, len(made_of))
        for row in range(ROWS):
            for power, short in zip(powers[row], made_of, strict=True):
                ring.add_shifted(factors[row], short.factor, power)
                ring.add_shifted(offsets[row], short.offset, power)
        if _is_inside(factors, offsets, len(made_of)):
            return digest + factors.astype("<i4").tobytes() + offsets.astype("<i4").tobytes()
    raise SecureSumError("no proof could be made of a ciphertext, which is next to impossible; play the round again")


def verify(claim: Claim, proof: bytes | memoryview) -> None:
    """Return if the proof is one of this claim.

    Raises: SecureSumError otherwise.
    """
    ring, elements = claim.ring, claim.elements
    if len(proof) != proof_bytes(ring):
        raise SecureSumError(f"a proof has {len(proof)} bytes; it must have {proof_bytes(ring)}")
    known = sha256(claim.digest + proof).digest()
    if known in _VERIFIED:
        return
    digest = bytes(proof[:DIGEST_BYTES])
    numbers = np.frombuffer(proof, dtype="<i4", offset=DIGEST_BYTES).astype(np.int64)
    factors, offsets = numbers.reshape(2, ROWS, ring.degree)
    powers = _powers(ring, digest, len(elements))
    if not _is_inside(factors, offsets, len(elements)):
        raise SecureSumError("a proof holds a number that is larger than allowed")
    begun = []
    for row in range(ROWS):
        loose = np.zeros((ring.limbs, ring.degree), dtype=np.int64)
        for power, element in zip(powers[row], elements, strict=True):
            ring.add_shifted(loose, element, power)
        begun.append(_combined(claim, factors[row], offsets[row], less=loose))
    if _digest(claim, begun) != digest:
        raise SecureSumError("what was sent is not shown to be a ciphertext under a proper key share")
    _VERIFIED.append(known)


# Digests of claims that hold: in a simulation, all participants of one process verify the same.
_VERIFIED: deque[bytes] = deque(maxlen=1024)


def _combined(claim: Claim, factor: Small, offset: Small, less: Rows | None = None) -> Limbs:
    """Return a * factor + offset, less an element."""
    loose = claim.ring.wide_product(claim.shared, factor)
    loose[0] += offset
    return claim.ring.settled(loose if less is None else loose - less)


def _digest(claim: Claim, begun: Sequence[Limbs]) -> bytes:
    hashed = sha256(DOMAIN + number(VERSION, 1) + b" threshold proof\x00" + claim.digest)
    for element in begun:
        hashed.update(claim.ring.encode(element))
    return hashed.digest()


def _powers(ring: Ring, digest: bytes, count: int) -> list[list[int]]:
    """Return the challenges: uniform powers of X, for each row and element; N divides 2^16."""
    drawn = shake_256(DOMAIN + number(VERSION, 1) + b" threshold challenge\x00" + digest).digest(
        ROWS * count * _POWER_BYTES
    )
    powers: list[list[int]] = (np.frombuffer(drawn, dtype="<u2").reshape(ROWS, count) % ring.degree).tolist()
    return powers


def _is_inside(factors: Rows, offsets: Rows, count: int) -> bool:
    """Return whether no number is so large that it tells of what the elements are made of."""
    limit = 1 << WIDE_BITS
    sizes = (factors, limit - 1 - count), (offsets, limit - 1 - ERROR_PAIRS * count)
    return all(-most <= int(numbers.min()) and int(numbers.max()) <= most for numbers, most in sizes)
