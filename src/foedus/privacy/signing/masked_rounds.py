"""What the log says of a secure sum: watched as its messages pass by, written down, and checked again offline.

Participants sign the terms with their keys of the round, and the list of survivors, inside the protocol. These
signatures go into the log as they are. What the protocol leaves unsigned, the masked vector, its sender signs.
Encrypted sums agree on rosters and survivors by the same messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foedus.core.errors import SecureSumError, SignatureError
from foedus.federation.messages import ParticipantId, Request, SecureSumStep
from foedus.privacy.encrypted_sum.messages import EncryptedVector, SeedDelivery, SumToOpen
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.messages import Agreement, Delivery, MaskedVector, SurvivorList
from foedus.privacy.secure_sum.roster import ROSTER, Roster, survivors_statement
from foedus.privacy.secure_sum.terms import KIND as TERMS
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.secure_sum.wire import kind_of
from foedus.privacy.signing.identity import PublicKey
from foedus.privacy.signing.statements import Purpose, Summed

# Messages of masks and of encrypted sums: the exchange that vectors answer, those vectors, and the signatures.
_DELIVERIES = {
    Delivery.KIND: lambda message: Delivery.decode(message).sharers,
    SeedDelivery.KIND: lambda message: SeedDelivery.decode(message).sharers,
}
_AGREEMENTS = {
    Agreement.KIND: lambda message: Agreement.decode(message).signatures,
    SumToOpen.KIND: lambda message: SumToOpen.decode(message).agreement.signatures,
}
_VECTORS = {
    MaskedVector.KIND: lambda message: MaskedVector.decode(message).roster,
    EncryptedVector.KIND: lambda message: EncryptedVector.decode(message).roster,
}


def roster_of_vector(message: bytes | memoryview) -> str | None:
    """Return the digest of the roster that a masked or an encrypted vector is for; None if the message is neither.

    Raises: SecureSumError if it only begins like one.
    """
    read = _VECTORS.get(kind_of(message) or 0)
    return None if read is None else read(message).hex()


@dataclass
class WatchedSum:
    """What the coordinator's messages of one secure sum say: everybody is sent the same, but for what is sealed.

    terms, roster: the protocol's own bytes. expects_vectors: whether vectors answer the latest exchange.
    """

    terms: bytes = b""
    roster: bytes = b""
    expects_vectors: bool = False
    _sharers: Sequence[int] = ()
    _survivors: Sequence[int] = ()
    _signatures: Mapping[int, bytes] = field(default_factory=dict)

    def sent(self, requests: Mapping[ParticipantId, Request]) -> None:
        """Take note of one exchange's messages, which are all of one kind.

        Raises: SignatureError if they are of a protocol that cannot be logged.
        """
        request = next(iter(requests.values()))
        assert isinstance(request, SecureSumStep), "a sum goes on with its steps"
        message, kind = request.message, kind_of(request.message)
        self.expects_vectors = kind in _DELIVERIES
        if kind == TERMS:
            self.terms = message
        elif kind == ROSTER:
            self.roster = message
        elif kind in _DELIVERIES:
            self._sharers = _DELIVERIES[kind](message)
        elif kind == SurvivorList.KIND:
            self._survivors = SurvivorList.decode(message).survivors
        elif kind in _AGREEMENTS:
            self._signatures = _AGREEMENTS[kind](message)
        else:
            raise SignatureError("a secure sum of a kind that cannot be logged was to be signed; use signatures: none")

    @property
    def roster_digest(self) -> str:
        """The digest of the sum's roster."""
        return Roster.decode(self.roster).digest.hex()

    @property
    def survivors(self) -> Sequence[ParticipantId]:
        """Who is in the sum, in the roster's order."""
        names = Roster.decode(self.roster).names
        return [names[place] for place in self._survivors]

    def summed(self, run: str, number: int, purpose: Purpose) -> Summed:
        """Return what the log says of the sum, once it is opened."""
        names = Roster.decode(self.roster).names
        return Summed(
            run=run,
            round=number,
            purpose=purpose,
            terms=self.terms.hex(),
            roster=self.roster.hex(),
            sharers=list(self._sharers),
            survivors=list(self._survivors),
            agreement={names[place]: signature.hex() for place, signature in self._signatures.items()},
        )


@dataclass(frozen=True)
class ReadSum:
    """A logged sum that was checked: its terms, the digest of its roster, and whose vectors are in it."""

    terms: Terms
    roster: str
    survivors: Sequence[ParticipantId]


def check_sum(stated: Summed, requests: Sequence[str], identities: Mapping[ParticipantId, PublicKey]) -> ReadSum:
    """Return what a logged sum says, if its participants signed all of it.

    requests: digests of what was asked. identities: the run's roster of keys.
    Raises: SignatureError with what does not hold.
    """
    try:
        terms = Terms.decode(bytes.fromhex(stated.terms))
        roster = Roster.decode(bytes.fromhex(stated.roster))
        place = terms.round + 1 if stated.purpose == "update" else terms.round
        if (terms.run, place, terms.purpose) != (stated.run, stated.round, stated.purpose):
            raise SignatureError("the terms of its secure sum are of another run, round or purpose")
        if terms.model.hex() not in requests:
            raise SignatureError("the terms of its secure sum are of another request than the one of its round")
        roster.check(terms, identities)
        places, sharers, survivors = set(range(len(roster.names))), set(stated.sharers), set(stated.survivors)
        if not survivors <= sharers <= places:
            raise SignatureError("those in its secure sum did not all share their secrets, or are not on the roster")
        if stated.sharers != sorted(sharers) or stated.survivors != sorted(survivors):
            raise SignatureError("its secure sum lists participants out of order, or twice")
        names = [roster.names[each] for each in stated.survivors]
        needed = terms.rules.survivors_needed(len(places))
        if not stated.agreement.keys() <= set(names):
            raise SignatureError("its secure sum is signed by one who is not in it")
        if len(stated.agreement) < needed:
            raise SignatureError(
                f"its secure sum has {len(stated.agreement)} signatures; {needed} of those in it must sign"
            )
        statement = survivors_statement(roster.digest, stated.sharers, stated.survivors)
        for name, signature in stated.agreement.items():
            keys.verify(identities[name], bytes.fromhex(signature), statement, f"the list of survivors of {name}")
    except SecureSumError as error:
        raise SignatureError(f"its secure sum does not hold: {error}") from error
    return ReadSum(terms, roster.digest.hex(), names)
