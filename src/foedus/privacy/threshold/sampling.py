"""Randomness of the ring: ternary secrets, centred binomial errors, floods, and the polynomial that all share."""

from __future__ import annotations

from hashlib import shake_256

import numpy as np

from foedus.core.entropy import Entropy
from foedus.privacy.secure_sum.wire import DOMAIN, VERSION, number
from foedus.privacy.threshold.ring import LIMB_BITS, Limbs, Loose, Ring, Small

ERROR_PAIRS = 21  # of coins: the variance is half of it, the deviation 3.24; the standard's table assumes 3.19 or more
ERROR_VARIANCE = ERROR_PAIRS / 2
WIDE_BITS = 30
_ERROR_MASK = np.uint64((1 << ERROR_PAIRS) - 1)


def ternary(ring: Ring, entropy: Entropy) -> Small:
    """Return a polynomial with uniform coefficients of -1, 0, 1: bytes modulo 3, without 255, which is one too many."""
    kept = np.empty(0, dtype=np.uint8)
    while len(kept) < ring.degree:
        drawn = np.frombuffer(entropy.draw(ring.degree + ring.degree // 64 + 16), dtype=np.uint8)
        kept = np.concatenate([kept, drawn[drawn < 255]])
    return (kept[: ring.degree] % 3).astype(np.int8) - np.int8(1)


def error(ring: Ring, entropy: Entropy) -> Small:
    """Return a polynomial of centred binomials: heads of 21 coins minus heads of 21 others, of 8 bytes each.

    Such errors stand for discrete Gaussians of their variance: Alkim et al. 2016, ePrint 2015/1092, section 4.
    """
    words = np.frombuffer(entropy.draw(8 * ring.degree), dtype="<u8")
    heads: Small = np.bitwise_count(words & _ERROR_MASK).astype(np.int64)
    tails: Small = np.bitwise_count((words >> np.uint64(ERROR_PAIRS)) & _ERROR_MASK).astype(np.int64)
    return heads - tails


def wide(ring: Ring, entropy: Entropy) -> Small:
    """Return a polynomial of uniform coefficients in [-2^30, 2^30)."""
    words = np.frombuffer(entropy.draw(4 * ring.degree), dtype="<u4")
    drawn: Small = (words >> np.uint32(31 - WIDE_BITS)).astype(np.int64) - (1 << WIDE_BITS)
    return drawn


def flood(ring: Ring, bits: int, entropy: Entropy) -> Loose:
    """Return a polynomial of uniform coefficients in [-2^bits, 2^bits), as loose limbs: as many as it needs."""
    count = bits // LIMB_BITS + 1
    words = np.frombuffer(entropy.draw(4 * count * ring.degree), dtype="<u4").reshape(count, ring.degree)
    drawn: Loose = words.astype(np.int64) & ((1 << LIMB_BITS) - 1)
    top = bits % LIMB_BITS
    drawn[-1] &= (1 << (top + 1)) - 1
    drawn[-1] -= 1 << top
    return drawn


def common(ring: Ring, transcript: bytes) -> Limbs:
    """Return the polynomial that all keys of one sum share: SHAKE256 of what everybody knows of it.

    Nobody chooses it: whoever could shape the terms would still have to find a preimage to make it special.
    """
    seed = DOMAIN + number(VERSION, 1) + b" threshold common polynomial\x00" + transcript
    return ring.read(shake_256(seed).digest(ring.element_bytes()))
