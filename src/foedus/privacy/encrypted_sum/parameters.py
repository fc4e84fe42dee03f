"""How sums are encrypted: one choice of degree, modulus, scale and packing for so many participants.

Security. A ring of degree 4096 with one prime of 56 or 60 bits and SEAL's ternary secret and error of
standard deviation 3.24. For ternary secrets the HomomorphicEncryption.org standard (Albrecht et al. 2018,
ePrint 2019/939, table 1) allows at that degree 109 bits for 128-bit classical security, 75 for 192 and 58
for 256. A degree of 2048 allows 54 for 128; it would send as many bytes with less to spare.

Precision. A ciphertext holds 4096 numbers, the real and imaginary parts of its 2048 slots. A sum of n fresh
ciphertexts errs in each by n sums of 4096 small errors times cosines, which is sub-Gaussian with variance
n · 2048 · (10.5 + 1/4): 10.5 that of SEAL's error, 1/4 that of any rounding by at most 1/2. The error bound is
the tail that no number of 2^32 exceeds, but for a chance of 2^-40. The scale puts the bound at a STEP_OVER_ERROR-th
of the integers' distance, or below: the bound that IND-CPA-D security needs (Li and Micciancio 2021, ePrint
2020/1533) between what is decrypted and what is given out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foedus.core.errors import SecureSumError

DEGREE = 4096
MODULI = {56: 72057594037641217, 60: 1152921504606830593}  # the largest primes 1 modulo 2 · DEGREE of so many bits
STEP_OVER_ERROR = 8
LEAST_LEVELS = (
    10_000  # that a value may lie from 0: a step is then 2e-4 of its range at most, rounded up to a power of 2
)

_ERROR_VARIANCE = 10.5 + 0.25
_FLOAT_BITS = 44  # of a number that SEAL encodes and decodes in float64: beyond, its own rounding would count
_WORD_BITS = 32
_TAIL_BITS = 40 + 32 + 1  # chance, numbers, both signs


@dataclass(frozen=True)
class Parameters:
    """One way to encrypt.

    participants: the most that one sum may have. value_bits: of the sum of one value.
    together: how many values are packed into one number. scale_bits: log2 of the encoding's scale.
    """

    participants: int
    modulus_bits: int
    scale_bits: int
    value_bits: int
    together: int

    @property
    def modulus(self) -> int:
        """The prime that coefficients are reduced by."""
        return MODULI[self.modulus_bits]

    @property
    def coefficient_bytes(self) -> int:
        """Bytes that a coefficient travels in."""
        return (self.modulus_bits + 7) // 8

    @property
    def largest(self) -> int:
        """How far a value, in steps, may lie from 0, so that the sum of all fits its bits."""
        return ((1 << (self.value_bits - 1)) - 1) // self.participants

    @property
    def digit_bits(self) -> int:
        """Bits of the digits that words without such a bound are cut into."""
        return self.value_bits - 1 - (self.participants - 1).bit_length()

    @property
    def error(self) -> float:
        """How far a decrypted number may lie from an integer."""
        return math.ldexp(error_bound(self.participants), -self.scale_bits)

    def describe(self) -> str:
        """Return what participants sign of them."""
        return f"ckks {DEGREE} {self.modulus} {self.scale_bits} {self.value_bits} {self.together} {self.participants}"


def error_bound(participants: int) -> float:
    """Return how far the numbers in a sum of so many ciphertexts may be off, before they are divided by the scale."""
    deviation = math.sqrt(participants * DEGREE / 2 * _ERROR_VARIANCE)
    return deviation * math.sqrt(2 * math.log(2) * _TAIL_BITS)


def choose(participants: int) -> Parameters:
    """Return the parameters with the fewest bytes a value that round it by at most 1e-4 of its range.

    Raises: SecureSumError if there are none: too many participants.
    """
    scale_bits = math.ceil(math.log2(STEP_OVER_ERROR * error_bound(participants)))
    for together, modulus_bits in ((2, 56), (2, 60), (1, 56), (1, 60)):
        # A coefficient is at most the largest modulus of a slot times the scale, and must stay below half the prime.
        room = math.log2(MODULI[modulus_bits]) - 1 - 0.5 - scale_bits + 1
        value_bits = min(_WORD_BITS, min(math.floor(room - 0.01), _FLOAT_BITS) // together)
        found = Parameters(participants, modulus_bits, scale_bits, value_bits, together)
        if value_bits > 1 and found.largest >= LEAST_LEVELS and found.digit_bits >= 1:
            return found
    raise SecureSumError(
        f"encrypted sums over {participants} participants would be off by more than a part in {LEAST_LEVELS}; "
        "use fewer participants in a round, or secure_sum: masks"
    )
