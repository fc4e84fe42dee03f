"""What a signed run between organisations sends beside its requests and replies: values, whatever carries them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foedus.federation.messages import Reply, Request
from foedus.privacy.signing.receipts import Kept
from foedus.privacy.signing.statements import Attestation, Signed


@dataclass(frozen=True)
class SignedRequest:
    """A request, and what the coordinator signed of it; None if it goes on with a sum."""

    request: Request
    asked: Signed | None


@dataclass(frozen=True)
class SignedAnswer:
    """A reply, and its sender's signed statement of it if it is of a kind that is signed.

    salt: of an evaluation's digest; empty for others.
    """

    reply: Reply
    signed: Signed | None = None
    salt: str = ""


@dataclass(frozen=True)
class OpenLog:
    """The run's log begins with this: which run it is, and whose keys count in it."""

    begun: Signed


@dataclass(frozen=True)
class GiveReceipts:
    """Please check and keep these."""

    kept: Sequence[Kept]


@dataclass(frozen=True)
class GoBack:
    """The log is this long now; please forget what came later, and tell the size that you saw last."""

    head: Signed


@dataclass(frozen=True)
class Attest:
    """The run is over, and came to this; please sign it."""

    attestation: Attestation


Paper = OpenLog | GiveReceipts | GoBack | Attest
