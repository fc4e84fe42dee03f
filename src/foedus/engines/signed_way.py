"""The way to participants that sign, each at its own organisation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from foedus.engines.remote import RemoteEngine
from foedus.federation.messages import ParticipantId, Request
from foedus.privacy.signing.envelopes import Attest, GiveReceipts, GoBack
from foedus.privacy.signing.receipts import Kept
from foedus.privacy.signing.signing_side import SignedReply
from foedus.privacy.signing.statements import Attestation, Signed


class RemoteSigners:
    """Participants that sign with keys which nobody else has. Who is not there is left out of what is returned."""

    def __init__(self, engine: RemoteEngine) -> None:
        self._engine = engine

    def exchange(self, requests: Mapping[ParticipantId, Request], asked: Signed | None) -> Iterator[SignedReply]:
        """Send all requests with what is signed of them, and yield replies, each with its signature."""
        return self._engine.exchange_signed(requests, asked)

    def deliver(self, kept: Mapping[ParticipantId, Sequence[Kept]]) -> Collection[ParticipantId]:
        """Give each its receipts, and return who took them."""
        return self._engine.hand({name: GiveReceipts(given) for name, given in kept.items()}).keys()

    def go_back_to(self, head: Signed, names: Collection[ParticipantId]) -> Mapping[ParticipantId, int]:
        """Tell these, and return which size of the log each saw last."""
        told = self._engine.hand({name: GoBack(head) for name in names})
        sizes = {name: answer.facts.get("size") for name, answer in told.items()}
        return {name: size for name, size in sizes.items() if type(size) is int and 0 <= size < 1 << 53}

    def attest(self, attestation: Attestation) -> Mapping[ParticipantId, str]:
        """Return the signatures of all who sign."""
        told = self._engine.hand(dict.fromkeys(self._engine.population(), Attest(attestation)))
        signatures = {name: answer.facts.get("signature") for name, answer in told.items()}
        return {name: signature for name, signature in signatures.items() if isinstance(signature, str)}
