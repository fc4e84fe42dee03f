"""Signed statements inside messages: each in the one way in which it may be written."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel

from foedus.core.errors import MessageError, SignatureError
from foedus.engines.codec.fields import Incoming, Outgoing
from foedus.privacy.signing.envelopes import Attest, GiveReceipts, GoBack, OpenLog, Paper
from foedus.privacy.signing.receipts import Kept
from foedus.privacy.signing.statements import Attestation, Signed, read, written

MAX_RECEIPT_BYTES = 1 << 26  # of all receipts in one message

Model = TypeVar("Model", bound=BaseModel)


def write_paper(paper: Paper, out: Outgoing) -> dict[str, Any]:
    """Return the head of a message that carries a paper."""
    match paper:
        case OpenLog(begun):
            return {"kind": "open_log", "begun": out.raw(written(begun))}
        case GiveReceipts(kept):
            return {"kind": "receipts", "kept": out.raw(b"".join(written(each) + b"\n" for each in kept))}
        case GoBack(head):
            return {"kind": "go_back", "head": out.raw(written(head))}
        case Attest(attestation):
            return {"kind": "attest", "attestation": out.raw(written(attestation))}


def read_paper(given: Incoming) -> Paper:
    """Return the paper that a message carries; no signature is checked.

    Raises: MessageError if it is not written as papers are.
    """
    match given.text("kind"):
        case "open_log":
            return OpenLog(_read(Signed, given, "begun"))
        case "receipts":
            return GiveReceipts(_receipts(given.view("kept")))
        case "go_back":
            return GoBack(_read(Signed, given, "head"))
        case "attest":
            return Attest(_read(Attestation, given, "attestation"))
        case other:
            raise MessageError(f"a request is of kind {other[:40]!r}, which this version does not know")


def write_signed(signed: Signed | None, out: Outgoing) -> int | None:
    """Return the number that stands for a signed statement; None for none."""
    return None if signed is None else out.raw(written(signed))


def read_signed(given: Incoming, key: str) -> Signed | None:
    """Return the signed statement that stands there, unchecked, or None.

    Raises: MessageError if it is not written as statements are.
    """
    return None if given.get(key) is None else _read(Signed, given, key)


def read_salt(given: Incoming) -> str:
    """Return an evaluation's salt, or the empty text.

    Raises: MessageError if it is neither.
    """
    salt = given.text("salt")
    if re.fullmatch(r"([0-9a-f]{64})?", salt) is None:
        raise MessageError("a message's salt is none")
    return salt


def _receipts(content: memoryview) -> list[Kept]:
    if len(content) > MAX_RECEIPT_BYTES:
        raise MessageError(f"receipts have {len(content)} bytes; at most {MAX_RECEIPT_BYTES} are read")
    *lines, rest = bytes(content).split(b"\n")
    if rest:
        raise MessageError("the last receipt of a message is cut short")
    return [_whole(Kept, line, "a receipt") for line in lines]


def _read(kind: type[Model], given: Incoming, key: str) -> Model:
    return _whole(kind, given.view(key), f"a message's {key}")


def _whole(kind: type[Model], text: bytes | memoryview, what: str) -> Model:
    try:
        return read(kind, bytes(text), what)
    except SignatureError as error:
        raise MessageError(str(error)) from None
