"""The coordinator's side of one threshold sum: it passes messages on and adds; it holds no key.

EXPERIMENTAL: not reviewed by an outside cryptographer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.exchanges import Answer, Cohort, Incoming, Outcome, Outgoing, Summation
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.masks import Vector
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.threshold.messages import (
    Blob,
    Evidence,
    KeyOpening,
    KeyPledge,
    KeyPledges,
    Keys,
    PartialDecryption,
    SentVector,
    VectorPledge,
    VectorPledges,
    commitment,
    proof_context,
    sum_statement,
    vector_statement,
)
from foedus.privacy.threshold.parameters import Parameters, choose
from foedus.privacy.threshold.proof import verify
from foedus.privacy.threshold.ring import RING, Ring
from foedus.privacy.threshold.scheme import JointKey, RunningRows, claim_of, combine, joint_key


@dataclass(frozen=True)
class _Keyed:
    """Where a sum stands once its keys do."""

    terms: Terms
    identities: Identities
    roster: KeyPledges
    shown: Keys
    ring: Ring

    @cached_property
    def message(self) -> bytes:
        return self.shown.encode()

    @cached_property
    def digest(self) -> bytes:
        return sha256(self.message).digest()

    @cached_property
    def parameters(self) -> Parameters:
        return choose(self.terms.layout, len(self.shown.publics), self.ring)

    @cached_property
    def key(self) -> JointKey:
        return joint_key(self.ring, self.terms.digest(), list(self.shown.publics.values()))

    @property
    def holders(self) -> tuple[ParticipantId, ...]:
        return self.names(self.shown.publics)

    def names(self, places: Iterable[int]) -> tuple[ParticipantId, ...]:
        return tuple(self.roster.names[place] for place in sorted(places))


def sum_by_threshold(
    terms: Terms, cohort: Sequence[ParticipantId], identities: Identities, *, ring: Ring = RING
) -> Summation:
    """Return the sum of the vectors of all who sent one, once all who made the key have helped to open it.

    Who vanishes before it shows its key share is out. Whoever vanishes later, the round does not stand; the outcome
    says why.
    ring: any but RING is for tests and protects nobody.
    """
    running = Cohort(tuple(cohort))
    try:
        roster = yield from _gather_pledges(running, terms, identities)
        shown = yield from _gather_keys(running, terms, roster, ring)
        keyed = _Keyed(terms, identities, roster, shown, ring)
        pledges = yield from _gather_vector_pledges(running, keyed)
        total = yield from _open(running, keyed, pledges)
    except SecureSumError as error:
        return Outcome(None, (), dict(running.left_out), str(error))
    survivors = keyed.names(pledges.pledges)
    left_out = {name: why for name, why in running.left_out.items() if name not in set(survivors)}
    return Outcome(total, survivors, left_out, None)


def _enough(count: int, terms: Terms, what: str) -> None:
    if count < terms.rules.min_cohort:
        raise SecureSumError(f"{count} participants {what}; min_cohort is {terms.rules.min_cohort}")


def _all(count: int, of: int, what: str) -> None:
    if count < of:
        raise SecureSumError(
            f"{count} of {of} {what}; all must, so the round does not stand. Under secure_sum: threshold one that "
            "vanishes late stops a round; use masks where participants come and go"
        )


def _gather_pledges(
    running: Cohort, terms: Terms, identities: Identities
) -> Generator[Outgoing | None, Incoming, KeyPledges]:
    pledged: list[KeyPledge] = []
    digest = terms.digest()

    def accept(sender: ParticipantId, answer: Answer) -> None:
        pledge = KeyPledge.decode(answer)
        if pledge.participant != sender:
            raise SecureSumError(f"it pledged a key share of {pledge.participant}")
        pledge.check(digest, identities)
        pledged.append(pledge)

    yield from running.phase(dict.fromkeys(running.names, terms.encode()), accept)
    roster = KeyPledges.of(pledged)
    roster.check(terms, identities)
    return roster


def _gather_keys(
    running: Cohort, terms: Terms, roster: KeyPledges, ring: Ring
) -> Generator[Outgoing | None, Incoming, Keys]:
    publics: dict[int, Blob] = {}

    def accept(sender: ParticipantId, answer: Answer) -> None:
        opening = KeyOpening.decode(answer)
        pledged = roster.members[roster.places[sender]]
        if opening.roster != roster.digest:
            raise SecureSumError("it showed its key share for another roster")
        if len(opening.public) != ring.element_bytes():
            raise SecureSumError(f"its key share has {len(opening.public)} bytes, not {ring.element_bytes()}")
        if commitment(pledged.terms, sender, opening.public) != pledged.commitment:
            raise SecureSumError("it shows another key share than it committed to")
        publics[roster.places[sender]] = opening.public

    yield from running.phase(dict.fromkeys(roster.names, roster.encode()), accept)
    _enough(len(publics), terms, "showed a key share")
    return Keys(roster.digest, publics)


def _gather_vector_pledges(running: Cohort, keyed: _Keyed) -> Generator[Outgoing | None, Incoming, VectorPledges]:
    pledges: dict[int, VectorPledge] = {}

    def accept(sender: ParticipantId, answer: Answer) -> None:
        pledge = VectorPledge.decode(answer)
        statement = vector_statement(keyed.roster.digest, keyed.digest, pledge.digest)
        keys.verify(keyed.identities[sender], pledge.signature, statement, f"the ciphertext of {sender}")
        pledges[keyed.roster.places[sender]] = pledge

    yield from running.phase(dict.fromkeys(keyed.holders, keyed.message), accept)
    _all(len(pledges), len(keyed.holders), "who made this round's key signed for a ciphertext")
    return VectorPledges(pledges)


def _open(running: Cohort, keyed: _Keyed, pledges: VectorPledges) -> Generator[Outgoing | None, Incoming, Vector]:
    """Gather the ciphertexts, then the partial decryptions of their sum; return what it is of."""
    total = RunningRows.of_bodies(keyed.parameters)
    statement = sum_statement(keyed.roster.digest, keyed.digest, pledges)
    evidence = yield from _gather_vectors(running, keyed, pledges, total)
    named = sha256(statement).digest()

    def accept(_: ParticipantId, answer: Answer) -> None:
        decrypted = PartialDecryption.decode(answer)
        if decrypted.statement != named:
            raise SecureSumError("it decrypted another sum")
        total.add(decrypted.part)

    opened = yield from running.phase(dict.fromkeys(keyed.holders, evidence), accept)
    _all(len(opened), len(keyed.holders), "who made this round's key helped to open the sum")
    return combine(total, keyed.parameters)


def _gather_vectors(
    running: Cohort, keyed: _Keyed, pledges: VectorPledges, total: RunningRows
) -> Generator[Outgoing | None, Incoming, bytes]:
    """Add up the ciphertexts' bodies; return the evidence for their masks, as a message."""
    statement = sum_statement(keyed.roster.digest, keyed.digest, pledges)
    signatures: dict[int, bytes] = {}
    masks: dict[int, Blob] = {}
    proofs: dict[int, Blob] = {}

    def accept(sender: ParticipantId, answer: Answer) -> None:
        sent, place = SentVector.decode(answer), keyed.roster.places[sender]
        keys.verify(keyed.identities[sender], sent.signature, statement, f"the list of ciphertexts of {sender}")
        right_size = len(sent.mask) == keyed.parameters.mask_bytes
        if not right_size or sha256(sent.mask).digest() != pledges.pledges[place].digest:
            raise SecureSumError("it sent another ciphertext than it signed for")
        context = proof_context(keyed.roster.digest, keyed.digest, sender, pledges.pledges[place].digest)
        verify(claim_of(keyed.parameters, keyed.key, keyed.shown.publics[place], sent.mask, context), sent.proof)
        total.add(sent.body, times=2)
        signatures[place], masks[place], proofs[place] = sent.signature, sent.mask, sent.proof

    senders = keyed.names(pledges.pledges)
    came = yield from running.phase(dict.fromkeys(senders, pledges.encode()), accept)
    _all(len(came), len(senders), "who signed for a ciphertext sent it")
    return Evidence(pledges, signatures, masks, proofs).encode()
