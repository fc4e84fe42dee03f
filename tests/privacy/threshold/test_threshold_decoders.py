"""Bytes that anybody may have made: decoders refuse with a reason, or return what encodes to the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.wire import header, number
from foedus.privacy.threshold.messages import (
    Evidence,
    KeyOpening,
    KeyPledge,
    KeyPledges,
    Keys,
    PartialDecryption,
    SentVector,
    VectorPledge,
    VectorPledges,
)
from foedus.privacy.threshold.participant import take_part
from privacy.secure_sum.federations import entropy, members_of, terms_of, vector_of
from privacy.secure_sum.test_secure_sum_decoders import Encodable, mutated, survives
from privacy.threshold.threshold_federations import LAYOUT, SMALL, play

CASES = 11_200  # for each of nine decoders: 100,800 in all

ROSTER = b"r" * 32
PLEDGES = [
    KeyPledge.signed(terms_of(), name, name.encode(), members_of(1)["site-0000"].identity) for name in ("a", "b", "ü")
]
LISTED = VectorPledges({1: VectorPledge(b"d" * 32, b"s" * 64), 4: VectorPledge(b"e" * 32, b"t" * 64)})
SAMPLES: Mapping[Callable[[bytes], Encodable], Encodable] = {
    KeyPledge.decode: PLEDGES[0],
    KeyPledges.decode: KeyPledges.of(PLEDGES),
    KeyOpening.decode: KeyOpening(ROSTER, b"share"),
    Keys.decode: Keys(ROSTER, {0: b"one", 3: b"another"}),
    VectorPledge.decode: VectorPledge(b"d" * 32, b"s" * 64),
    VectorPledges.decode: LISTED,
    SentVector.decode: SentVector(b"s" * 64, b"proof", b"mask", b"body"),
    Evidence.decode: Evidence(
        LISTED, {1: b"u" * 64, 4: b"v" * 64}, {1: b"mask", 4: b"another"}, {1: b"proof", 4: b"other"}
    ),
    PartialDecryption.decode: PartialDecryption(b"p" * 32, b"part"),
}
FREE_END = {KeyOpening.decode, SentVector.decode, PartialDecryption.decode}  # the parameters say how long they are


def name_of(decode: Callable[[bytes], Encodable]) -> str:
    return str(decode.__self__.__name__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("decode", SAMPLES, ids=name_of)
def test_whatever_comes_in_a_threshold_sum_is_refused_by_name_or_canonical(
    decode: Callable[[bytes], Encodable],
) -> None:
    draw = random.Random(11)  # noqa: S311
    sample = SAMPLES[decode].encode()
    assert survives(decode, sample)
    accepted = sum(survives(decode, mutated(sample, draw)) for _ in range(CASES))
    assert accepted < CASES


@pytest.mark.parametrize("decode", SAMPLES, ids=name_of)
def test_every_prefix_and_every_longer_message_of_a_threshold_sum_is_refused(
    decode: Callable[[bytes], Encodable],
) -> None:
    sample = SAMPLES[decode].encode()
    ends: Mapping[Callable[[bytes], Encodable], int] = {
        KeyOpening.decode: 5,
        SentVector.decode: 4,
        PartialDecryption.decode: 4,
    }
    for length in range(len(sample) - ends.get(decode, 0)):
        with pytest.raises(SecureSumError):
            decode(sample[:length])
    if decode not in FREE_END:
        with pytest.raises(SecureSumError, match="1 bytes too many"):
            decode(sample + b"\x00")


@pytest.mark.parametrize("decode", SAMPLES, ids=name_of)
def test_a_message_of_masks_is_none_of_a_threshold_sum(decode: Callable[[bytes], Encodable]) -> None:
    sample = SAMPLES[decode].encode()
    with pytest.raises(SecureSumError, match="is of kind 4"):
        decode(header(4) + sample[len(header(4)) :])


def test_lists_out_of_order_with_something_twice_or_too_long_are_refused() -> None:
    row = number(1, 4) + number(0, 8)
    for rows in (row + row, number(2, 4) + number(0, 8) + row):
        with pytest.raises(SecureSumError, match="out of order, or something twice"):
            Keys.decode(header(Keys.KIND) + ROSTER + number(2, 4) + rows)
    with pytest.raises(SecureSumError, match="more than it can hold"):
        Keys.decode(header(Keys.KIND) + ROSTER + b"\x7f\xff\xff\xff" + row)
    with pytest.raises(SecureSumError, match="is cut short"):
        Keys.decode(header(Keys.KIND) + ROSTER + number(1, 4) + number(1, 4) + b"\xff" * 8)


def test_masks_of_others_than_signed_are_refused() -> None:
    signed, rows, others = {1: b"u" * 64, 4: b"v" * 64}, {1: b"one", 4: b"another"}, {1: b"one", 5: b"another"}
    for wrong in (Evidence(LISTED, signed, others, rows), Evidence(LISTED, signed, rows, others)):
        with pytest.raises(SecureSumError, match="holds masks or proofs of others than signed"):
            Evidence.decode(wrong.encode())


@pytest.mark.parametrize("phase", range(1, 5))
def test_a_participant_answers_no_damaged_message(phase: int) -> None:
    """Its checks and decoders together: 60 mutations of each message, all refused by name."""
    members, draw = members_of(3), random.Random(phase)  # noqa: S311
    terms, name = terms_of(layout=LAYOUT), "site-0000"
    vectors = {other: vector_of(index, LAYOUT) for index, other in enumerate(members)}
    received: list[bytes] = []

    def keep(now: int, to: str, message: bytes) -> bytes:
        if to == name:
            received.append(message)
        return message

    assert play(terms, members, vectors, down=keep).reason is None
    for _ in range(60):
        fresh = members_of(3)[name]
        side = take_part(fresh, terms, received[0], vectors[name], entropy("round", 0, name), ring=SMALL)
        next(side)
        for message in received[1:phase]:
            side.send(message)
        damaged = mutated(received[phase], draw)
        if damaged == received[phase]:
            continue
        with pytest.raises(SecureSumError):
            side.send(damaged)
