"""What the log says of a secure sum: watched as its messages pass by, written down, and checked again offline.

Participants sign the terms with their keys of the round, and the list of survivors, inside the protocol. These
signatures go into the log as they are. What the protocol leaves unsigned, the masked vector, its sender signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foedus.core.errors import SecureSumError, SignatureError
from foedus.federation.messages import ParticipantId, Request, SecureSumStep
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.messages import Agreement, Delivery, SurvivorList
from foedus.privacy.secure_sum.roster import ROSTER, Roster, survivors_statement
from foedus.privacy.secure_sum.terms import KIND as TERMS
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.secure_sum.wire import kind_of
from foedus.privacy.signing.identity import PublicKey
from foedus.privacy.signing.statements import Purpose, Summed


@dataclass
class WatchedSum:
    """The coordinator's messages of one secure sum, by kind: everybody is sent the same, but for sealed shares."""

    _messages: dict[int, bytes] = field(default_factory=dict)
    _latest: int | None = None

    def sent(self, requests: Mapping[ParticipantId, Request]) -> None:
        """Take note of one exchange's messages."""
        for request in requests.values():
            assert isinstance(request, SecureSumStep), "a sum goes on with its steps"
            kind = kind_of(request.message)
            if kind is None:
                raise SignatureError("a sum of a kind that cannot be logged yet was to be signed")
            self._latest = kind
            self._messages[kind] = request.message
            return

    @property
    def expects_vectors(self) -> bool:
        """Whether masked vectors answer the latest exchange."""
        return self._latest == Delivery.KIND

    @property
    def roster_digest(self) -> str:
        """The digest of the sum's roster. Raises: SecureSumError if there is none yet."""
        return self._roster().digest.hex()

    @property
    def survivors(self) -> Sequence[ParticipantId]:
        """Who is in the sum, in the roster's order."""
        names = self._roster().names
        return [names[place] for place in SurvivorList.decode(self._message(SurvivorList.KIND)).survivors]

    def summed(self, run: str, number: int, purpose: Purpose) -> Summed:
        """Return what the log says of the sum.

        Raises: SecureSumError if it did not get as far as that everybody agreed.
        """
        names = self._roster().names
        agreement = Agreement.decode(self._message(Agreement.KIND)).signatures
        return Summed(
            run=run,
            round=number,
            purpose=purpose,
            terms=self._message(TERMS).hex(),
            roster=self._message(ROSTER).hex(),
            sharers=list(Delivery.decode(self._message(Delivery.KIND)).sharers),
            survivors=list(SurvivorList.decode(self._message(SurvivorList.KIND)).survivors),
            agreement={names[place]: signature.hex() for place, signature in agreement.items()},
        )

    def _roster(self) -> Roster:
        return Roster.decode(self._message(ROSTER))

    def _message(self, kind: int) -> bytes:
        if kind not in self._messages:
            raise SecureSumError("a secure sum was to be logged that did not come so far")
        return self._messages[kind]


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
