"""The recorded values of one whole sum: any change of an encoding, a derivation or a check shows here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.messages import MaskedVector
from foedus.privacy.secure_sum.participant import Member, Participation, take_part
from foedus.privacy.signing.identity import Identity, PublicKey
from privacy.secure_sum import vector_making
from privacy.secure_sum.vector_making import LAYOUT, NAMES, TERMS, VANISHED, stream_of

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "secure_sum.json").read_text())
OF = RECORDED["participants"]


def derived(secret: bytes, purpose: bytes, *names: str) -> bytes:
    """HKDF as the documentation states it, without our code."""
    info = b"foedus secure sum\x01 " + purpose + b"\x00"
    info += b"".join(len(name.encode()).to_bytes(2, "big") + name.encode() for name in names)
    return HKDF(SHA256(), 32, salt=bytes.fromhex(RECORDED["roster"]["digest"]), info=info).derive(secret)


def keystream(key: bytes) -> bytes:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(LAYOUT.byte_size))


def test_the_recorded_values_are_made_again_to_the_last_bit() -> None:
    assert json.loads(json.dumps(vector_making.made())) == RECORDED


def test_digests_commitments_and_public_keys_are_what_they_are_said_to_be() -> None:
    for part in ("terms", "roster"):
        assert hashlib.sha256(bytes.fromhex(RECORDED[part]["encoded"])).hexdigest() == RECORDED[part]["digest"]
    for one in OF.values():
        commitment = hashlib.sha256(b"foedus secure sum\x01 seed\x00" + bytes.fromhex(one["seed"])).hexdigest()
        assert commitment == one["seed_commitment"]
        identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(one["identity_private"]))
        assert identity.public_key().public_bytes_raw().hex() == one["identity_public"]
        shown = bytes.fromhex(one["answered"][0])
        identity.public_key().verify(shown[-64:], b"foedus secure sum\x01 signature\x00" + shown[:-64])


def test_masks_follow_from_secrets_by_the_stated_derivations() -> None:
    for name, one in OF.items():
        key = derived(bytes.fromhex(one["seed"]), b"own mask", name)
        assert (key.hex(), keystream(key).hex()) == (one["own_mask_key"], one["own_mask"])
    for pair in RECORDED["pairs"]:
        low, high = pair["participants"]
        private = X25519PrivateKey.from_private_bytes(bytes.fromhex(OF[high]["mask_private"]))
        public = X25519PrivateKey.from_private_bytes(bytes.fromhex(OF[low]["mask_private"])).public_key()
        secret = private.exchange(public)
        key = derived(secret, b"pair mask", low, high)
        assert [secret.hex(), key.hex(), keystream(key).hex()] == [pair["mask_secret"], pair["mask_key"], pair["mask"]]


def test_masked_vectors_are_vector_and_own_mask_and_pair_masks_in_the_order_of_names() -> None:
    for name in NAMES:
        if name == VANISHED:
            continue
        total = [words.copy() for words in LAYOUT.from_bytes(bytes.fromhex(OF[name]["vector"]))]
        terms = [(OF[name]["own_mask"], 1)]
        for pair in RECORDED["pairs"]:
            if name in pair["participants"]:
                terms.append((pair["mask"], 1 if pair["participants"][0] == name else -1))
        for mask, sign in terms:
            for place, words in enumerate(LAYOUT.from_bytes(bytes.fromhex(mask))):
                total[place] = total[place] + words if sign > 0 else total[place] - words
        sent = MaskedVector.decode(bytes.fromhex(OF[name]["answered"][2]))
        assert LAYOUT.to_bytes(tuple(total)) == bytes(sent.words)


def test_the_total_is_the_plain_sum_of_the_survivors_vectors() -> None:
    assert RECORDED["survivors"] == [name for name in NAMES if name != VANISHED]
    vectors = [LAYOUT.from_bytes(bytes.fromhex(OF[name]["vector"])) for name in RECORDED["survivors"]]
    for place, words in enumerate(LAYOUT.from_bytes(bytes.fromhex(RECORDED["total"]))):
        assert np.array_equal(
            words, sum(vector[place].astype(object) for vector in vectors) % 2 ** (8 * words.itemsize)
        )


@pytest.mark.parametrize("case", RECORDED["bad"], ids=lambda case: f"{case['phase']}-{case['refusal']}")
def test_bad_messages_are_refused_for_the_recorded_reason(case: dict[str, Any]) -> None:
    name = NAMES[0]
    pinned = {each: PublicKey.from_hex(OF[each]["identity_public"]) for each in NAMES}
    member = Member(name, Identity.from_seed(bytes.fromhex(OF[name]["identity_private"])), pinned, lambda entries: None)
    messages = [bytes.fromhex(message) for message in OF[name]["received"][: case["phase"]]]
    messages.append(bytes.fromhex(case["message"]))
    vector = LAYOUT.from_bytes(bytes.fromhex(OF[name]["vector"]))
    side: Participation = take_part(member, TERMS, messages[0], vector, stream_of(name))
    for phase, message in enumerate(messages[:-1]):
        answer = bytes(next(side) if phase == 0 else side.send(message))
        assert answer.hex() == OF[name]["answered"][phase]
    with pytest.raises(SecureSumError, match=case["refusal"]):
        next(side) if len(messages) == 1 else side.send(messages[-1])
