"""How a vector becomes coefficients, and how much room noise has: what follows from how many hold keys.

Bits of a coefficient modulo Q = 2^432, from above: the plaintext t = 2^plain_bits; one bit for rounding; noise.

*Noise of a sum.* Let n hold keys s_i, ternary, with errors e_i up to 21, and send ciphertexts of ternary u_i and errors
f_i, g_i up to 21. What the whole key leaves of twice the sum's zero-encryption is at most
v0 = 2 n^2 (2 * 21 N) + 2 * 21 n. Of one that deviates it is known only what its proof shows: twice its elements have
parts below W = 2^31 N. With those, what depends on honest secrets in what honest ones give out is, for each of at
most n that deviate, e w, s w, w f and w u with sums of at most n honest ones: at most 2 * (21 + 1) n N W.
So v = v0 + 44 n^2 N W bounds all of it, whatever anyone sends.

*Flood.* Each partial decryption adds uniform noise in [-2^b, 2^b). Statistical distance to noise that
does not depend on v is v / 2^(b + 1) a coefficient (the smudging lemma: Asharov et al. 2012, ePrint 2011/613),
so over all C coefficients of a sum at most C v / 2^(b + 1). b is the least with which this is at most 2^-40.
Keys serve one decryption of one sum, so C is all that is ever opened under them.

*No failures.* Decryption is exact if all noise is under Q / 2t. It is at most n 2^b of floods, v, and what dropped
limbs lose: 3 n 2^d. plain_bits is the most that leaves room for the greatest of each, so nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.threshold.proof import MOST_ELEMENTS
from foedus.privacy.threshold.ring import LIMB_BITS, RING, Ring
from foedus.privacy.threshold.sampling import ERROR_PAIRS, WIDE_BITS

FLOOD_SECURITY_BITS = 40
MOST_PARTICIPANTS = 32  # each receives the others' ciphertexts, so traffic grows as the square
_PIECE_BITS = 32  # words of 64 bits are summed as two halves


@dataclass(frozen=True)
class Region:
    """The coefficients that hold words of one width.

    array: which of the vector's arrays. width: bits of a word. pieces: halves of words, or words. piece_bits: of each.
    slot_bits: with room for n of them. slots: in a coefficient. start, stop: coefficients, over all polynomials.
    """

    array: int
    width: int
    pieces: int
    piece_bits: int
    slot_bits: int
    slots: int
    start: int
    stop: int


@dataclass(frozen=True)
class Parameters:
    """Everything that follows from a layout and from how many hold keys."""

    layout: Layout
    participants: int
    plain_bits: int
    flood_bits: int
    regions: tuple[Region, ...]
    ring: Ring = RING

    @property
    def polynomials(self) -> int:
        """How many encrypt one vector."""
        return -(-self.regions[-1].stop // self.ring.degree)

    @property
    def plain_shift(self) -> int:
        """The bit of a coefficient that the plaintext of twice the sum begins at."""
        return self.ring.modulus_bits - self.plain_bits

    @property
    def dropped_limbs(self) -> int:
        """Low limbs that are not sent where only the upper ones matter: they lie below every flood's own size."""
        return (self.flood_bits - 1) // LIMB_BITS

    @property
    def noise_bound(self) -> int:
        """What no honest sum's noise exceeds; it is less than half of the plaintext's unit."""
        return _noise_bound(self.flood_bits, self.participants, self.ring)

    @property
    def kept_limbs(self) -> int:
        """Limbs that are sent there."""
        return self.ring.limbs - self.dropped_limbs

    @property
    def mask_bytes(self) -> int:
        """Bytes of a ciphertext's part that is decrypted with: all its limbs."""
        return self.polynomials * self.ring.element_bytes()

    @property
    def body_bytes(self) -> int:
        """Bytes of a ciphertext's part that holds the plaintext, and of a partial decryption: upper limbs."""
        return self.polynomials * self.ring.element_bytes(self.kept_limbs)


def choose(layout: Layout, participants: int, ring: Ring = RING) -> Parameters:
    """Return the parameters with the most plaintext in a coefficient.

    ring: any but RING is for tests and protects nobody.
    Raises: SecureSumError for more participants than this kind of sum is for, or fewer than 2.
    """
    if not 2 <= participants <= MOST_PARTICIPANTS:
        raise SecureSumError(
            f"{participants} participants were to hold a threshold key; it is for 2 to {MOST_PARTICIPANTS}. Use masks"
        )
    coefficients = 0
    while True:  # more coefficients need more flood, which leaves less plaintext in each, which needs more of them
        flood_bits = _flood_bits(max(coefficients, ring.degree), participants, ring)
        plain_bits = _plain_bits(flood_bits, participants, ring)
        regions = tuple(_regions(layout, participants, plain_bits))
        needed = -(-regions[-1].stop // ring.degree) * ring.degree
        if needed >= MOST_ELEMENTS * ring.degree:
            raise SecureSumError(f"a vector of {layout.byte_size:,} bytes is too long for a threshold sum. Use masks")
        if needed <= coefficients:
            return Parameters(layout, participants, plain_bits, flood_bits, regions, ring)
        coefficients = needed


def _flood_bits(coefficients: int, participants: int, ring: Ring) -> int:
    return (coefficients * _hidden_noise(participants, ring) - 1).bit_length() + FLOOD_SECURITY_BITS - 1


def _noise_bound(flood_bits: int, participants: int, ring: Ring) -> int:
    dropped = (flood_bits - 1) // LIMB_BITS * LIMB_BITS
    return participants * (1 << flood_bits) + _hidden_noise(participants, ring) + 3 * participants * (1 << dropped)


def _hidden_noise(participants: int, ring: Ring) -> int:
    """Return what v of the module's argument cannot exceed."""
    honest = 2 * participants**2 * 2 * ERROR_PAIRS * ring.degree + 2 * ERROR_PAIRS * participants
    widest = ring.degree << (WIDE_BITS + 1)
    return honest + 2 * (ERROR_PAIRS + 1) * participants**2 * ring.degree * widest


def _plain_bits(flood_bits: int, participants: int, ring: Ring) -> int:
    plain_bits = ring.modulus_bits - 1 - _noise_bound(flood_bits, participants, ring).bit_length()
    if plain_bits < _PIECE_BITS + participants.bit_length():
        raise SecureSumError(
            f"a sum over {participants} participants leaves {plain_bits} bits a coefficient; "
            f"{_PIECE_BITS + participants.bit_length()} are needed. Use masks"
        )
    return plain_bits


def _regions(layout: Layout, participants: int, plain_bits: int) -> Iterator[Region]:
    start = 0
    carry_bits = (participants - 1).bit_length()
    for array, (width, count) in enumerate(layout.counts):
        piece_bits = min(width, _PIECE_BITS)
        pieces = count * (width // piece_bits)
        slots = plain_bits // (piece_bits + carry_bits)
        stop = start - (-pieces // slots)
        yield Region(array, width, pieces, piece_bits, piece_bits + carry_bits, slots, start, stop)
        start = stop
