"""Vectors of words as plaintexts: several words a coefficient, each with room for the sum of all participants'.

Words are those of `privacy/secure_sum`, on the same integer grid; sums are taken modulo the word's size, as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foedus.privacy.secure_sum.masks import Vector
from foedus.privacy.threshold.parameters import Parameters, Region
from foedus.privacy.threshold.ring import LIMB_BITS, Limbs, Loose

_MASK = np.uint64((1 << LIMB_BITS) - 1)
_LIMB = np.uint64(LIMB_BITS)
_NOISE_BITS = 20  # below the plaintext, at most, that tell honest noise from another


def add_plaintext_in_place(loose: Loose, vector: Vector, parameters: Parameters, polynomial: int) -> None:
    """Add that polynomial's part of a vector to an element's loose limbs, at half of the plaintext's bits.

    Twice the sum is opened, which brings it to its place.
    """
    for region, first, last, columns in _parts(parameters, polynomial):
        pieces = np.zeros((last - first) * region.slots, dtype=np.uint64)
        begin = (first - region.start) * region.slots
        own = _pieces(vector, region)[begin : begin + len(pieces)]
        pieces[: len(own)] = own
        for slot, column in enumerate(pieces.reshape(-1, region.slots).T):
            place, shift = divmod(parameters.plain_shift - 1 + slot * region.slot_bits, LIMB_BITS)
            shifted = column << np.uint64(shift)
            for row in loose[place : place + -(-(shift + region.piece_bits) // LIMB_BITS)]:
                row[columns] += (shifted & _MASK).astype(np.int64)
                shifted = shifted >> _LIMB


def take_plaintext(limbs: Limbs, total: Vector, parameters: Parameters, polynomial: int) -> None:
    """Write that polynomial's part of a vector from an element with nothing but plaintext and settled noise.

    limbs: the upper ones that are kept, with half of the plaintext's unit added, so that cutting rounds.
    """
    for region, first, last, columns in _parts(parameters, polynomial):
        pieces = np.empty((last - first, region.slots), dtype=np.uint64)
        for slot in range(region.slots):
            bit = parameters.plain_shift + slot * region.slot_bits
            pieces[:, slot] = _bits(limbs[:, columns], bit - parameters.dropped_limbs * LIMB_BITS, region.slot_bits)
        _put(pieces.reshape(-1), total, region, (first - region.start) * region.slots)


def noise_is_honest(limbs: Limbs, parameters: Parameters) -> bool:
    """Return whether what lies below the plaintext is no more than honest noise, in every coefficient.

    limbs: as for take_plaintext. Anything else than an honest sum shows here: its noise would be anywhere in the
    plaintext's unit, of which honest noise takes at most half.
    """
    dropped = parameters.dropped_limbs * LIMB_BITS
    cut = max(dropped, parameters.plain_shift - _NOISE_BITS)
    count = parameters.plain_shift - cut
    seen = _bits(limbs, cut - dropped, count).astype(np.int64)
    return bool((np.abs(seen - (1 << (count - 1))) <= (parameters.noise_bound >> cut) + 1).all())


def _bits(limbs: Limbs, bit: int, count: int) -> NDArray[np.uint64]:
    """Return so many bits, at most 40, of each coefficient, from that one on."""
    place, shift = divmod(bit, LIMB_BITS)
    joined = np.zeros(limbs.shape[1], dtype=np.uint64)
    for offset, row in enumerate(limbs[place : place + 3]):
        joined |= row.astype(np.uint64) << np.uint64(offset * LIMB_BITS)
    return (joined >> np.uint64(shift)) & np.uint64((1 << count) - 1)


def _parts(parameters: Parameters, polynomial: int) -> list[tuple[Region, int, int, slice]]:
    """Return what regions a polynomial's coefficients belong to: from, to, and which of its own columns."""
    degree = parameters.ring.degree
    low, high = polynomial * degree, (polynomial + 1) * degree
    return [
        (
            region,
            max(low, region.start),
            min(high, region.stop),
            slice(max(low, region.start) - low, min(high, region.stop) - low),
        )
        for region in parameters.regions
        if max(low, region.start) < min(high, region.stop)
    ]


def _pieces(vector: Vector, region: Region) -> NDArray[Any]:
    return vector[region.array].view(f"<u{region.piece_bits // 8}")


def _put(pieces: NDArray[np.uint64], total: Vector, region: Region, begin: int) -> None:
    """Write sums of pieces as words; both halves of a word lie in one region, but not always in one polynomial."""
    words, halves = total[region.array], region.width // region.piece_bits
    pieces = pieces[: region.pieces - begin]
    if halves == 1:
        words[begin : begin + len(pieces)] = pieces.astype(words.dtype)
        return
    where = np.arange(begin, begin + len(pieces))
    for half in range(halves):
        own = where % halves == half
        words[where[own] // halves] += pieces[own] << np.uint64(half * region.piece_bits)
