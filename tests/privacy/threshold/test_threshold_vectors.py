"""The recorded values of one whole threshold sum: any change of an encoding, a derivation or a check shows here.

They are computed once more with Python's whole numbers, from the equations that the docstrings state.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.threshold.messages import KeyOpening, PartialDecryption, SentVector
from privacy.threshold import threshold_vector_making as making
from privacy.threshold.threshold_vector_making import HOLDERS, NAMES, side_of

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "threshold_sum.json").read_text())
OF = RECORDED["participants"]
ROWS = 10
DEGREE, LIMBS = RECORDED["ring"]["degree"], RECORDED["ring"]["limbs"]
MODULUS = 1 << (24 * LIMBS)
DROPPED = 24 * RECORDED["parameters"]["dropped_limbs"]
SHIFT = 24 * LIMBS - RECORDED["parameters"]["plain_bits"]
SENDERS = list(HOLDERS)

Element = list[int]


def elements(data: bytes | memoryview, dropped: int = 0) -> list[Element]:
    """Return whole numbers from limbs of 3 bytes, limb by limb, the lowest first; cut ones at their places."""
    limbs = LIMBS - dropped
    size = 3 * limbs * DEGREE
    return [
        [
            sum(
                int.from_bytes(data[begin + 3 * (limb * DEGREE + at) :][:3], "little") << (24 * (limb + dropped))
                for limb in range(limbs)
            )
            for at in range(DEGREE)
        ]
        for begin in range(0, len(data), size)
    ]


def product(left: Element, right: Element) -> Element:
    made = [0] * DEGREE
    for at, one in enumerate(left):
        for more, other in enumerate(right):
            sign = -1 if at + more >= DEGREE else 1
            made[(at + more) % DEGREE] += sign * one * other
    return made


def added(*all_of: Element) -> Element:
    return [sum(column) % MODULUS for column in zip(*all_of, strict=True)]


def cut(element: Element) -> Element:
    return [value >> DROPPED << DROPPED for value in element]


def plaintexts(vector: bytes) -> list[Element]:
    """Return a vector's words as plaintext polynomials, each word in its slot."""
    regions = RECORDED["parameters"]["regions"]
    made = [0] * (RECORDED["parameters"]["polynomials"] * DEGREE)
    offset = 0
    for region in regions:
        step = region["piece_bits"] // 8
        for piece in range(region["pieces"]):
            value = int.from_bytes(vector[offset + piece * step :][:step], "little")
            at, slot = divmod(piece, region["slots"])
            made[region["start"] + at] += value << (SHIFT + slot * region["slot_bits"])
        offset += region["pieces"] * step
    return [made[begin : begin + DEGREE] for begin in range(0, len(made), DEGREE)]


COMMON = elements(bytes.fromhex(RECORDED["common"]))[0]
PUBLICS = {name: elements(KeyOpening.decode(bytes.fromhex(OF[name]["answered"][1])).public)[0] for name in SENDERS}


def sent_by(name: str) -> SentVector:
    return SentVector.decode(bytes.fromhex(OF[name]["answered"][3]))


def test_the_recorded_threshold_sum_is_made_again_to_the_last_bit() -> None:
    assert json.loads(json.dumps(making.made())) == RECORDED


def test_the_common_polynomial_and_key_shares_follow_from_terms_and_secrets() -> None:
    digest = bytes.fromhex(RECORDED["terms"]["digest"])
    assert hashlib.sha256(bytes.fromhex(RECORDED["terms"]["encoded"])).digest() == digest
    seed = b"foedus secure sum\x01 threshold common polynomial\x00" + digest
    assert hashlib.shake_256(seed).hexdigest(3 * LIMBS * DEGREE) == RECORDED["common"]
    for name in SENDERS:
        masked = added(product(COMMON, OF[name]["secret"]), OF[name]["key_error"])
        assert PUBLICS[name] == [-value % MODULUS for value in masked]
        share = bytes(KeyOpening.decode(bytes.fromhex(OF[name]["answered"][1])).public)
        length = len(name.encode()).to_bytes(2, "big")
        purpose = b"foedus secure sum\x01 threshold key share\x00" + digest + length + name.encode()
        commitment = hashlib.sha256(purpose + share).digest()
        assert bytes.fromhex(OF[name]["answered"][0])[-96:-64] == commitment


def test_ciphertexts_follow_from_secrets_and_vectors() -> None:
    public = added(*PUBLICS.values())
    for name in SENDERS:
        masks, bodies = elements(sent_by(name).mask), elements(sent_by(name).body, DROPPED // 24)
        words = plaintexts(bytes.fromhex(OF[name]["vector"]))
        for drawn, mask, body, plain in zip(OF[name]["ciphertext"], masks, bodies, words, strict=True):
            assert mask == added(product(COMMON, drawn["u"]), drawn["mask_error"])
            halves = [value // 2 for value in plain]
            assert body == cut(added(product(public, drawn["u"]), drawn["body_error"], halves))


def test_proofs_are_about_key_shares_and_masks_with_the_hashed_challenges() -> None:
    for name in SENDERS:
        proof, drawn = bytes(sent_by(name).proof), OF[name]
        count = 1 + len(drawn["ciphertext"])
        seed = b"foedus secure sum\x01 threshold challenge\x00" + proof[:32]
        stream = hashlib.shake_256(seed).digest(2 * ROWS * count)
        powers = [int.from_bytes(stream[at : at + 2], "little") % DEGREE for at in range(0, len(stream), 2)]
        numbers = [int.from_bytes(proof[at : at + 4], "little", signed=True) for at in range(32, len(proof), 4)]
        parts = [
            (drawn["proof_factors"], [drawn["secret"], *(one["u"] for one in drawn["ciphertext"])]),
            (drawn["proof_offsets"], [drawn["key_error"], *(one["mask_error"] for one in drawn["ciphertext"])]),
        ]
        for half, (blinds, secrets) in enumerate(parts):
            for row in range(ROWS):
                total = list(blinds[row])
                for secret, power in zip(secrets, powers[row * count : (row + 1) * count], strict=True):
                    shift = product(secret, [int(at == power) for at in range(DEGREE)])
                    total = [one + other for one, other in zip(total, shift, strict=True)]
                begin = (half * ROWS + row) * DEGREE
                assert numbers[begin : begin + DEGREE] == total
        begun = b""
        public = [-value % MODULUS for value in PUBLICS[name]]
        for row in range(ROWS):
            factor, offset = (numbers[(half * ROWS + row) * DEGREE :][:DEGREE] for half in (0, 1))
            element = added(product(COMMON, factor), offset)
            for target, power in zip(
                [public, *elements(sent_by(name).mask)], powers[row * count : (row + 1) * count], strict=True
            ):
                shift = product(target, [int(at == power) for at in range(DEGREE)])
                element = added(element, [-value for value in shift])
            begun += encoded(element)
        claim = b"foedus secure sum\x01 threshold claim\x00" + hashlib.sha256(context_of(name)).digest()
        claim += encoded(public) + b"".join(encoded(mask) for mask in elements(sent_by(name).mask))
        hashed = b"foedus secure sum\x01 threshold proof\x00" + hashlib.sha256(claim).digest() + begun
        assert hashlib.sha256(hashed).digest() == proof[:32]


def encoded(element: Element) -> bytes:
    return b"".join(
        (value >> (24 * limb) & 0xFFFFFF).to_bytes(3, "little") for limb in range(LIMBS) for value in element
    )


def context_of(name: str) -> bytes:
    roster, keys = (hashlib.sha256(bytes.fromhex(OF[name]["received"][at])).digest() for at in (1, 2))
    head = b"foedus secure sum\x01" + bytes([46])
    named = len(name.encode()).to_bytes(2, "big") + name.encode()
    return head + roster + keys + named + hashlib.sha256(sent_by(name).mask).digest()


def test_partial_decryptions_open_the_sum_and_their_noise_is_within_bounds() -> None:
    masks = [added(*parts) for parts in zip(*[elements(sent_by(name).mask) for name in SENDERS], strict=True)]
    opened = [
        added(*parts) for parts in zip(*[elements(sent_by(name).body, DROPPED // 24) for name in SENDERS], strict=True)
    ]
    opened = [[2 * value % MODULUS for value in element] for element in opened]
    for name in SENDERS:
        parts = elements(PartialDecryption.decode(bytes.fromhex(OF[name]["answered"][-1])).part, DROPPED // 24)
        for at, part in enumerate(parts):
            doubled = [2 * value for value in masks[at]]
            assert part == cut(added(product(doubled, OF[name]["secret"]), OF[name]["floods"][at]))
            opened[at] = added(opened[at], part)
    expected = plaintexts(bytes(making.LAYOUT.byte_size))
    for name in SENDERS:
        expected = [added(*both) for both in zip(expected, plaintexts(bytes.fromhex(OF[name]["vector"])), strict=True)]
    for element, plain in zip(opened, expected, strict=True):
        for value, wanted in zip(element, plain, strict=True):
            noise = (value - wanted + MODULUS // 2) % MODULUS - MODULUS // 2
            assert abs(noise) < 1 << (SHIFT - 1)
            assert ((value + (1 << (SHIFT - 1))) % MODULUS) >> SHIFT == wanted >> SHIFT


def test_the_total_is_the_sum_of_the_senders_words() -> None:
    assert RECORDED["survivors"] == SENDERS
    offset, total = 0, bytes.fromhex(RECORDED["total"])
    for width, count in making.LAYOUT.counts:
        size = width // 8
        for begin in range(offset, offset + count * size, size):
            summed = sum(
                int.from_bytes(bytes.fromhex(OF[name]["vector"])[begin : begin + size], "little") for name in SENDERS
            )
            assert int.from_bytes(total[begin : begin + size], "little") == summed % (1 << width)
        offset += count * size


@pytest.mark.parametrize("case", RECORDED["bad"], ids=lambda case: f"{case['phase']}: {case['refusal'][:40]}")
def test_bad_messages_are_refused_with_the_recorded_reason(case: dict[str, Any]) -> None:
    received = [bytes.fromhex(message) for message in OF[NAMES[0]]["received"]]
    phase, message = case["phase"], bytes.fromhex(case["message"])
    side = side_of(NAMES[0], message if phase == 0 else received[0])
    if phase > 0:
        next(side)
        for earlier in received[1:phase]:
            side.send(earlier)
    with pytest.raises(SecureSumError, match=case["refusal"]):
        side.send(message if phase > 0 else None)  # type: ignore[arg-type]
