"""What an encrypted sum costs in a round, from the protocol's own messages and from rates measured when asked."""

from __future__ import annotations

import os

import numpy as np

from foedus.privacy.encrypted_sum import coefficients
from foedus.privacy.encrypted_sum.linear_check import hashed
from foedus.privacy.encrypted_sum.messages import (
    SEALED_SEED_BYTES,
    EncryptedVector,
    OpenedSum,
    SealedSeeds,
    SeedDelivery,
    SumToOpen,
)
from foedus.privacy.encrypted_sum.parameters import DEGREE, Parameters, choose
from foedus.privacy.encrypted_sum.seal import SEED_BYTES, SharedKey
from foedus.privacy.encrypted_sum.slots import ciphertexts_of
from foedus.privacy.secure_sum.cost import Cost, Load, least_seconds
from foedus.privacy.secure_sum.keys import KEY_BYTES
from foedus.privacy.secure_sum.messages import Agreement, Confirmation, SurvivorList
from foedus.privacy.secure_sum.roster import Advertisement, Roster
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.secure_sum.wire import DIGEST_BYTES
from foedus.privacy.signing.identity import SIGNATURE_BYTES


def cost_of_ckks(load: Load, rules: Rules) -> Cost:
    """Return what an encrypted sum costs a participant on average: one of them opens it.

    Raises: SecureSumError if it is not for so many participants; MissingExtra.
    """
    count = len(load.names)
    needed, parameters = rules.survivors_needed(count), choose(count)
    ciphertexts = ciphertexts_of(load.layout, parameters)
    up, down = _bytes(load, rules, parameters)
    encrypting, adding, opening = _seconds(parameters)
    return Cost(
        kind="ckks",
        up_bytes=up,
        down_bytes=load.plain_down + down,
        exchanges=5,
        participant_seconds=ciphertexts * (encrypting + opening / count),
        coordinator_seconds=ciphertexts * count * adding,
        protects=(
            f"the coordinator sees one sum over {needed} or more of {count}; if it lies, sums over groups of "
            f"{rules.least_survivors} or more; {count - needed} may vanish"
        ),
        does_not_protect=(
            "against a single participant that sides with the coordinator, for each holds the key to everything; what "
            "sums tell, of several rounds together above all; against poisoned updates"
        ),
    )


def _bytes(load: Load, rules: Rules, parameters: Parameters) -> tuple[int, int]:
    """Return the bytes of one participant's messages up and down: those of the protocol, filled with zeros.

    The sum that is opened counts for each with its part.
    """
    count, everybody, digest = len(load.names), range(len(load.names)), bytes(DIGEST_BYTES)
    blank, signature = bytes(KEY_BYTES), bytes(SIGNATURE_BYTES)
    encrypted = coefficients.byte_size(ciphertexts_of(load.layout, parameters), parameters)
    shown = [Advertisement(digest, name, blank, blank, blank, signature) for name in load.names]
    others = dict.fromkeys(range(count - 1), bytes(SEALED_SEED_BYTES))
    agreement = Agreement(dict.fromkeys(everybody, signature))
    up = [
        sum(len(one.encode()) for one in shown) // count,
        len(SealedSeeds(digest, others).encode()),
        len(EncryptedVector(digest, 0, b"").encode()) + encrypted,
        len(Confirmation(signature).encode()),
        (len(OpenedSum(digest, b"").encode()) + load.layout.byte_size) // count,
    ]
    down = [
        len(Terms("", "", 0, "", digest, digest, rules, load.layout).encode()),
        len(Roster.of(shown).encode()),
        len(SeedDelivery(digest, tuple(everybody), others).encode()),
        len(SurvivorList(digest, tuple(everybody)).encode()),
        (len(SumToOpen(agreement, 0, b"").encode()) + encrypted) // count,
    ]
    return sum(up), sum(down)


def _seconds(parameters: Parameters) -> tuple[float, float, float]:
    """Return the seconds that a ciphertext takes to be encrypted, added and opened, measured now."""
    key, secret = SharedKey(parameters, os.urandom(SEED_BYTES)), os.urandom(KEY_BYTES)
    integers = np.zeros(DEGREE, dtype=np.int64)
    encrypted, total = key.encrypt(integers), coefficients.zeros(1)
    words = coefficients.to_bytes(encrypted, parameters)

    def encrypt() -> None:
        made = key.encrypt(integers)
        hashed(made, secret, parameters)
        coefficients.to_bytes(made, parameters)

    def add() -> None:
        coefficients.add_in_place(total, coefficients.from_bytes(words, 1, parameters), parameters)

    def open_sum() -> None:
        hashed(encrypted, secret, parameters)
        key.decrypt(encrypted)

    return least_seconds(encrypt), least_seconds(add), least_seconds(open_sum)
