"""Every decoder of bytes that others wrote: whatever comes, it is read or refused by name."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.key_files import parse_public, write_public
from foedus.privacy.signing.log import Log, Receipt, parse_log, read_entry, receipt, signed_head
from foedus.privacy.signing.pins import pin, read_change, read_pins, rotated, save_pins, write_change
from foedus.privacy.signing.receipts import Kept
from foedus.privacy.signing.statements import RoundResult, RunBegun, Summed, read, sign, written

ONE, TWO = Identity.from_seed(b"1" * 32), Identity.from_seed(b"2" * 32)
RUN = "ab" * 16
CASES = 12_000  # for each decoder, so more than 100,000 in all

JUNK = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"1e999",
    b"-0",
    b"NaN",
    b"\\ud800",
    b"\x00",
    b"\xff",
    b"[" * 300,
]


def mutated(sample: bytes, randomness: random.Random) -> bytes:
    """Return a sample with a few changes of the kinds that decoders stumble over."""
    raw = bytearray(sample)
    for _ in range(randomness.randint(1, 4)):
        place = randomness.randrange(len(raw) + 1)
        match randomness.randrange(6):
            case 0:
                raw[place : place + 1] = bytes([randomness.randrange(256)])
            case 1:
                del raw[place : place + randomness.randint(1, 40)]
            case 2:
                raw[place:place] = randomness.choice(JUNK)
            case 3:
                begin = randomness.randrange(len(raw) + 1)
                raw[place:place] = raw[begin : begin + randomness.randint(1, 40)]
            case 4:
                raw[place:place] = b"9" * randomness.choice((1, 20, 5000))
            case 5:
                raw = bytearray(randomness.randbytes(randomness.randint(0, 60)))
    return bytes(raw)


def samples(folder: Path) -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    begun = RunBegun(
        run=RUN,
        rounds="plain",
        settings="0" * 64,
        inputs="1" * 64,
        coordinator=ONE.public.hex(),
        roster={"n": TWO.public.hex()},
    )
    result = RoundResult(
        run=RUN,
        round=3,
        stood=True,
        cohort=["n", "ö"],
        counted=["n"],
        params="2" * 64,
        privacy={"epsilon": [1.5, None]},
    )
    log = Log(folder / "log.jsonl")
    log.extend([sign(begun, ONE, "coordinator"), sign(result, ONE, "coordinator")])
    given = receipt(log, signed_head(log, RUN, ONE, "coordinator"), 1, since=1)
    save_pins(folder / "pins.json", pin({}, "n", ONE.public))
    change = rotated("n", 0, ONE, TWO)
    summed = Summed(
        run=RUN,
        round=3,
        purpose="update",
        terms="ab" * 40,
        roster="cd" * 90,
        sharers=[0, 1],
        survivors=[1],
        agreement={"n": "ef" * 64},
    )
    return {
        "log": (written(log.entries[0]), lambda text: read_entry(text, 0)),
        "result": (written(log.entries[1]), lambda text: read_entry(text, 0)),
        "sum": (written(sign(summed, ONE, "coordinator")), lambda text: read_entry(text, 0)),
        "kept": (written(Kept(signed=log.entries[0], receipt=given)), lambda text: read(Kept, text, "a receipt")),
        "whole log": (log.path.read_bytes(), lambda text: parse_log(text, "it")),
        "receipt": (written(given), lambda text: read(Receipt, text, "a receipt")),
        "pins": ((folder / "pins.json").read_bytes(), lambda text: read_pins(text, "it")),
        "change": (write_change(change), lambda text: read_change(text, "it")),
        "public": (write_public("n", ONE.public).encode(), lambda text: parse_public(text, "it")),
        "key": (ONE.public.hex().encode(), lambda text: PublicKey.from_hex(text.decode("latin-1"))),
    }


@pytest.mark.parametrize(
    "which", ["log", "result", "sum", "kept", "whole log", "receipt", "pins", "change", "public", "key"]
)
def test_whatever_bytes_come_they_are_read_or_refused_by_name(tmp_path: Path, which: str) -> None:
    sample, decode = samples(tmp_path)[which]
    decode(sample)
    randomness = random.Random(which)  # noqa: S311 - cases, not keys
    refused = 0
    for _ in range(CASES):
        try:
            decode(mutated(sample, randomness))
        except SignatureError:
            refused += 1
    assert refused > 0.5 * CASES  # the others are well written, and fail when signatures are checked


def test_what_is_too_long_is_not_parsed() -> None:
    with pytest.raises(SignatureError, match="at most 16777216 are read"):
        read_entry(b'"' * (17 << 20), 0)


def test_nothing_of_signing_reads_pickles() -> None:
    folder = Path(__file__).parents[3] / "src" / "foedus" / "privacy" / "signing"
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    assert len(code) > 10_000
    assert not any(f"import {name}" in code for name in ("pickle", "marshal", "shelve", "dill"))
    assert "torch.load" not in code
