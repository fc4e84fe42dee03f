"""Bytes that anybody may have made: decoders refuse with a reason, or return what encodes to the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol

import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.field import SHARES
from foedus.privacy.secure_sum.keys import RoundKeys
from foedus.privacy.secure_sum.messages import (
    SEALED_BYTES,
    Agreement,
    Confirmation,
    Delivery,
    MaskedVector,
    Opening,
    SealedShares,
    ShareKind,
    SurvivorList,
)
from foedus.privacy.secure_sum.roster import Advertisement, Roster
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.secure_sum.wire import MAX_TEXT_BYTES, Reader, header, number, text
from foedus.privacy.signing.identity import Identity
from privacy.secure_sum.federations import entropy, terms_of

CASES = 11_200  # for each of nine decoders: 100,800 in all


class Encodable(Protocol):
    def encode(self) -> bytes: ...


ROSTER = b"r" * 32
SEALED = {1: b"a" * SEALED_BYTES, 4: b"b" * SEALED_BYTES}
SHOWN = [
    Advertisement.signed(
        terms_of(), name, RoundKeys.create(entropy(name)), Identity.from_seed(bytes(entropy(name).draw(32)))
    )
    for name in ("a", "b", "ü")
]
SAMPLES: Mapping[Callable[[bytes], Encodable], Encodable] = {
    Terms.decode: terms_of(),
    Advertisement.decode: SHOWN[0],
    Roster.decode: Roster.of(SHOWN),
    SealedShares.decode: SealedShares(ROSTER, SEALED),
    Delivery.decode: Delivery(ROSTER, (0, 1, 4), SEALED),
    MaskedVector.decode: MaskedVector(ROSTER, b"words"),
    SurvivorList.decode: SurvivorList(ROSTER, (0, 2, 3)),
    Agreement.decode: Agreement({0: b"s" * 64, 2: b"t" * 64}),
    Opening.decode: Opening({0: (ShareKind.SEED, 5), 3: (ShareKind.MASK_KEY, SHARES.prime - 1)}),
}


def mutated(sample: bytes, draw: random.Random) -> bytes:
    """Return the bytes with a few changed, dropped, doubled or replaced; or none of them."""
    data = bytearray(sample)
    kind = draw.randrange(6)
    if kind == 0:
        return draw.randbytes(draw.randrange(len(data) + 40))
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(data)) if data else 0
        match kind:
            case 1:
                data[place : place + 1] = bytes([draw.randrange(256)])
            case 2:
                del data[place : place + draw.randrange(1, 40)]
            case 3:
                data[place:place] = draw.randbytes(draw.randrange(1, 40))
            case 4:
                data[place:place] = data[place : place + draw.randrange(1, 80)]
            case 5:
                data[place : place + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
    return bytes(data)


def survives(decode: Callable[[bytes], Encodable], data: bytes) -> bool:
    """Return whether it was accepted; then it must be the encoding of what came out."""
    try:
        value = decode(data)
    except SecureSumError:
        return False
    assert value.encode() == data
    return True


@pytest.mark.parametrize("decode", SAMPLES, ids=lambda decode: decode.__self__.__name__)
def test_whatever_comes_is_refused_by_name_or_canonical(decode: Callable[[bytes], Encodable]) -> None:
    draw = random.Random(7)  # noqa: S311
    sample = SAMPLES[decode].encode()
    assert survives(decode, sample)
    accepted = sum(survives(decode, mutated(sample, draw)) for _ in range(CASES))
    assert accepted < CASES


@pytest.mark.parametrize("decode", SAMPLES, ids=lambda decode: decode.__self__.__name__)
def test_every_prefix_and_every_longer_message_is_refused(decode: Callable[[bytes], Encodable]) -> None:
    sample = SAMPLES[decode].encode()
    free_end = decode == MaskedVector.decode  # the layout says how long its words are
    shortest = MaskedVector.OFFSET if free_end else len(sample)
    for length in range(shortest):
        with pytest.raises(SecureSumError):
            decode(sample[:length])
    if not free_end:
        with pytest.raises(SecureSumError, match="1 bytes too many"):
            decode(sample + b"\x00")


@pytest.mark.parametrize("decode", SAMPLES, ids=lambda decode: decode.__self__.__name__)
def test_another_version_or_kind_is_refused_by_name(decode: Callable[[bytes], Encodable]) -> None:
    sample = SAMPLES[decode].encode()
    place = len(header(0)) - 2
    with pytest.raises(SecureSumError, match="is of version 2; this is version 1"):
        decode(sample[:place] + b"\x02" + sample[place + 1 :])
    with pytest.raises(SecureSumError, match="is of kind 99"):
        decode(sample[: place + 1] + b"\x63" + sample[place + 2 :])


def test_lists_out_of_order_or_with_something_twice_are_refused() -> None:
    for survivors in ((1, 0), (1, 1)):
        with pytest.raises(SecureSumError, match="out of order, or something twice"):
            SurvivorList.decode(SurvivorList(ROSTER, survivors).encode())
    with pytest.raises(SecureSumError, match="out of order, or something twice"):
        Roster.decode(Roster((SHOWN[1], SHOWN[0])).encode())
    twice = Roster((SHOWN[0], SHOWN[0])).encode()
    with pytest.raises(SecureSumError, match="out of order, or something twice"):
        Roster.decode(twice)


def test_a_list_that_announces_more_than_it_holds_is_refused_before_it_is_read() -> None:
    data = SurvivorList(ROSTER, ()).encode()[:-4] + b"\x7f\xff\xff\xff"
    with pytest.raises(SecureSumError, match="announces 2147483647 entries"):
        SurvivorList.decode(data)


def test_a_share_of_an_unknown_kind_and_one_that_is_no_element_are_refused() -> None:
    head = header(Opening.KIND) + number(1, 4) + number(0, 4)
    with pytest.raises(SecureSumError, match="there are kinds 1 and 2"):
        Opening.decode(head + b"\x03" + SHARES.encode(1))
    with pytest.raises(SecureSumError, match="not below the prime"):
        Opening.decode(head + b"\x01" + SHARES.prime.to_bytes(66, "big"))


def test_names_have_one_encoding() -> None:
    assert Reader(text("ü"), "it").text() == "ü"
    for wrong in (b"\x00\x01\xff", b"\x00\x02\xc0\x80", number(MAX_TEXT_BYTES + 1, 2) + b"a" * (MAX_TEXT_BYTES + 1)):
        with pytest.raises(SecureSumError):
            Reader(wrong, "it").text()
    for name in ("a" * (MAX_TEXT_BYTES + 1), "\ud800"):
        with pytest.raises(SecureSumError):
            text(name)


def test_numbers_that_do_not_fit_are_refused() -> None:
    for value in (-1, 256):
        with pytest.raises(SecureSumError, match="does not fit"):
            number(value, 1)


def test_a_confirmation_is_one_signature() -> None:
    sample = Confirmation(b"s" * 64)
    assert Confirmation.decode(sample.encode()) == sample
    with pytest.raises(SecureSumError):
        Confirmation.decode(sample.encode()[:-1])
