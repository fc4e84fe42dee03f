"""The papers that travel when a federation is founded: an invitation out, requests in, grants out. None is secret.

The authority's identity key signs invitations and grants; each party's identity key signs its request. Who has
compared the fingerprints of these keys with a person, by telephone for instance, need not trust who delivered the
papers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from foedus.core.errors import LinkError, SignatureError
from foedus.engines.kits.kit import MAX_BYTES, KeyText, League, NameText, PemText, Role
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.pins import write_whole


class _Paper(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Invitation(_Paper):
    """What a party needs to know to ask for a place. root: the certificate under which all others stand."""

    format: Literal["foedus invitation 1"] = "foedus invitation 1"
    league: League
    authority: KeyText
    root: PemText


class Request(_Paper):
    """A party's public keys: its identity key, and the one for mTLS in a certificate signing request.

    operator_request: of the coordinator alone, for the user that its process logs in as.
    """

    format: Literal["foedus request 1"] = "foedus request 1"
    federation: NameText
    authority: KeyText
    name: NameText
    identity: KeyText
    signing_request: PemText
    operator_request: PemText | None = None


class Grant(_Paper):
    """A party's certificate, and everybody's identity keys by name."""

    format: Literal["foedus grant 1"] = "foedus grant 1"
    league: League
    authority: KeyText
    root: PemText
    name: NameText
    role: Role
    identity: KeyText
    certificate: PemText
    operator_certificate: PemText | None = None
    pins: dict[NameText, KeyText]


Paper = TypeVar("Paper", Invitation, Request, Grant)
_KINDS: Mapping[type, str] = {Invitation: "invitation", Request: "application", Grant: "grant"}  # what is signed


def write_paper(path: Path, paper: Invitation | Request | Grant, identity: Identity) -> None:
    """Write a paper with its signature.

    Raises: SignatureError if it cannot be written.
    """
    value = paper.model_dump(mode="json")
    signed = {"paper": value, "signature": identity.sign(_KINDS[type(paper)], value)}
    write_whole(path, json.dumps(signed, indent=1).encode() + b"\n")


def read_paper(path: Path, kind: type[Paper]) -> Paper:
    """Return a paper whose signature fits the key that it names. Whose key that is, a person has to find out.

    Raises: LinkError if the file holds no such paper; SignatureError if it was changed.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LinkError(f"{path} cannot be read: {error.strerror}") from error
    what = kind.__name__.lower()
    try:
        value: Any = json.loads(text) if len(text) <= MAX_BYTES else None
        signature = str(value["signature"])
        paper = kind.model_validate_json(json.dumps(value["paper"]))
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
        raise LinkError(f"{path} holds no {what}, or one of another version of foedus") from None
    signer, name = _signer(paper)
    if set(value) != {"paper", "signature"}:
        raise SignatureError(f"{path} holds more than a {what} and its signature")
    PublicKey.from_hex(signer).check(_KINDS[kind], paper.model_dump(mode="json"), signature, name)
    return paper


def _signer(paper: Invitation | Request | Grant) -> tuple[str, str]:
    return (paper.identity, paper.name) if isinstance(paper, Request) else (paper.authority, "the authority")


def fingerprint(key: str) -> str:
    """Return what people read out to each other of a key."""
    return PublicKey.from_hex(key).fingerprint
