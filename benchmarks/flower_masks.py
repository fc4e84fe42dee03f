"""Flower's SecAgg+ primitives beside ours, on the same vector and on this core: masks, key agreement, shares.

Only if Flower can be imported; its protocol itself needs Flower's server and is not run. It expands each mask with a
Mersenne Twister from a seed of at most 28 bits, and ours with AES-256-CTR from 256 bits, so the two are no equals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from foedus.core.entropy import Entropy
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.field import SHARES
from foedus.privacy.secure_sum.masks import Layout, add_masks_in_place
from foedus.privacy.secure_sum.shamir import combine, split

MASKS = 4  # that are measured; a Mersenne Twister takes long for all of them
_MODULUS = 1 << 32


@dataclass(frozen=True)
class Primitives:
    """Seconds of processor time: of one mask, one agreement with the mask's key, one secret shared and opened."""

    mask: float
    agreement: float
    sharing: float
    opening: float


def ours(length: int, holders: int, threshold: int) -> Primitives:
    """Return what our primitives take for a vector of so many words of 32 bits."""
    vector = Layout(((32, length),)).zeros()
    mask_keys = [bytes([number]) * keys.KEY_BYTES for number in range(MASKS)]
    side, public = X25519PrivateKey.generate(), keys.public_key(bytes(range(32)))
    entropy, points = Entropy.secret(), range(1, holders + 1)
    shares = split(1, threshold, points, SHARES, entropy)
    return Primitives(
        seconds(lambda: add_masks_in_place(vector, mask_keys)) / MASKS,
        seconds(lambda: keys.pair_mask_key(keys.agreed(side, public), bytes(32), "a", "b"), 50),
        seconds(lambda: split(1, threshold, points, SHARES, entropy), 5),
        seconds(lambda: combine(shares, threshold, SHARES), 5),
    )


def flowers(length: int, holders: int, threshold: int) -> Primitives | None:
    """Return what Flower's take; None if it is not installed."""
    try:
        from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
        from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
        from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition
        from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
    except ImportError:
        return None
    vector = [np.zeros(length, dtype=np.int64)]
    own, other = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1()).public_key()
    secret = bytes(range(32))
    shares = create_shares(secret, threshold, holders)

    def mask() -> None:
        total = vector
        for number in range(MASKS):
            total = parameters_addition(total, pseudo_rand_gen(bytes([number]) * 32, _MODULUS, [(length,)]))

    return Primitives(
        seconds(mask, 1) / MASKS,
        seconds(lambda: generate_shared_key(own, other), 20),
        seconds(lambda: create_shares(secret, threshold, holders), 2),
        seconds(lambda: combine_shares(shares[:threshold]), 2),
    )


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Return the mean processor time of the work, after it was done once."""
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def compare(length: int, holders: int, threshold: int) -> str:
    """Return both beside each other, as a line."""
    theirs, own = flowers(length, holders, threshold), ours(length, holders, threshold)
    if theirs is None:
        return "  Flower's SecAgg+ primitives: not installed (pip install flwr)"
    return (
        f"  Flower's SecAgg+ primitives on the same vector, and ours: a mask {theirs.mask * 1e3:.1f} and "
        f"{own.mask * 1e3:.2f} ms ({theirs.mask / own.mask:.0f} x), a key agreement {theirs.agreement * 1e6:.0f} and "
        f"{own.agreement * 1e6:.0f} us, sharing a secret among {holders} {theirs.sharing * 1e3:.1f} and "
        f"{own.sharing * 1e3:.2f} ms, opening it {theirs.opening * 1e3:.1f} and {own.opening * 1e3:.2f} ms"
    )
