"""A participant's side of signed rounds: it checks what it is asked, signs what leaves it, and keeps its receipts.

It needs its own private key and the coordinator's public one, and nobody else's.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from foedus.core.errors import ParticipantError, SignatureError
from foedus.federation.messages import (
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    ParticipantId,
    Reply,
    Request,
    SecureSumAnswer,
    SecureSumStep,
    Train,
)
from foedus.federation.protocols import Engine
from foedus.privacy.signing.digests import evaluation_digest, request_digest, update_digest
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.log import Witness
from foedus.privacy.signing.masked_rounds import roster_of_vector
from foedus.privacy.signing.receipts import Kept, ReceiptFile, check_chain
from foedus.privacy.signing.statements import (
    Attestation,
    Evaluated,
    Head,
    Masked,
    Purpose,
    Requested,
    RunBegun,
    Signed,
    Updated,
    sign,
    signature_of,
)

SALT_BYTES = 32


def work_of(request: Request) -> Train | Evaluate | None:
    """Return what a request asks to be done, be it for a sum; None if it goes on with one, or only counts.

    A dry round is before the run that is signed: what it finds stands in the settings that the log begins with.
    """
    match request:
        case Train() | Evaluate():
            return request
        case SecureSumStep(of=Train() | Evaluate() as work):
            return work
        case _:
            return None


def is_signed(request: Request) -> bool:
    """Return whether what answers a request is signed: all but counts of pairs, and figures that stay at home."""
    work = work_of(request)
    return isinstance(request, SecureSumStep) or isinstance(work, Train) or (work is not None and work.tell)


def round_of(work: Train | Evaluate) -> int:
    """Return the round that work belongs to: 1 is the first; the evaluation before it is of round 0."""
    return work.broadcast.clock.round + 1 if isinstance(work, Train) else work.round


def purpose_of(work: Train | Evaluate) -> Purpose:
    """Return what a request wants."""
    return "update" if isinstance(work, Train) else "evaluation"


@dataclass(frozen=True)
class SignedReply:
    """A participant's reply, and its signed statement of it if it is one that is signed.

    salt: of an evaluation's digest, for the coordinator to check it.
    """

    participant: ParticipantId
    reply: Reply
    signed: Signed | None = None
    salt: str = ""


@dataclass(frozen=True)
class Asked:
    """What a participant was last asked, and the coordinator signed: the round, what for, and the request's digest."""

    round: int
    purpose: Purpose
    request: str


@dataclass
class SigningSide:
    """One participant in one run.

    begun: the first entry of the run's log, signed by the coordinator. file: where receipts are kept; None: nowhere.
    """

    name: ParticipantId
    identity: Identity
    coordinator: PublicKey
    begun: Signed
    file: ReceiptFile | None = None
    _asked: Asked | None = field(default=None, init=False)
    _salts: dict[int, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Check that the run is the coordinator's, and that this participant's key is its own in it.

        Raises: SignatureError if not.
        """
        self.begun.check(self.coordinator)
        run = self.run
        if run.coordinator != self.coordinator.hex() or run.roster.get(self.name) != self.identity.public.hex():
            raise SignatureError(
                f"the run {run.run} begins with another key of the coordinator or of {self.name} than they have; "
                "compare fingerprints (foedus keys show)"
            )
        self._witness = Witness(run.run, self.coordinator)

    @property
    def run(self) -> RunBegun:
        """Which run it is."""
        if not isinstance(self.begun.statement, RunBegun):
            raise SignatureError("what the log begins with does not say which run it is of")
        return self.begun.statement

    def accept(self, request: Request, digest: str, asked: Signed | None) -> None:
        """Return if the coordinator signed this request, for this run; nothing of it is done before.

        digest: of the work that is asked. asked: the coordinator's statement.
        Raises: SignatureError if it did not.
        """
        work = work_of(request)
        if work is None or not is_signed(request):  # it goes on with what was accepted, or nothing of it leaves
            return
        if asked is None:
            raise SignatureError("the coordinator did not sign what it asks")
        asked.check(self.coordinator)
        stated, due = asked.statement, (self.run.run, round_of(work), purpose_of(work))
        if not isinstance(stated, Requested) or (stated.run, stated.round, stated.purpose) != due:
            raise SignatureError("what the coordinator signed is of another round")
        if digest not in stated.requests:
            raise SignatureError("what the coordinator signed is not what it asked")
        self._asked = Asked(stated.round, stated.purpose, digest)

    def signed(self, request: Request, reply: Reply) -> SignedReply:
        """Return the reply to a request with its signature, if it is of a kind that is signed.

        Raises: SignatureError if nothing was asked; ParticipantError if an encoded tree cannot be decoded.
        """
        roster = roster_of_vector(reply.message) if isinstance(reply, SecureSumAnswer) else None
        inside = isinstance(reply, SecureSumAnswer) and roster is None
        if inside or not is_signed(request) or not isinstance(reply, LocalUpdate | Evaluation | SecureSumAnswer):
            return SignedReply(self.name, reply)  # what of a sum's other messages counts is signed inside the protocol
        if self._asked is None:
            raise SignatureError("it was asked nothing that the coordinator signed")
        asked, salt = self._asked, ""
        said = {"run": self.run.run, "round": asked.round, "participant": self.name, "request": asked.request}
        statement: Updated | Evaluated | Masked
        match reply:
            case LocalUpdate():
                statement = Updated.model_validate({**said, "update": update_digest(reply).hex()})
            case Evaluation():
                salt = self._salts[asked.round] = secrets.token_hex(SALT_BYTES)
                statement = Evaluated.model_validate({**said, "figures": evaluation_digest(reply.sums, salt).hex()})
            case SecureSumAnswer():
                sent = {"roster": roster, "vector": vector_digest(reply)}
                statement = Masked.model_validate({**said, "purpose": asked.purpose, **sent})
        return SignedReply(self.name, reply, sign(statement, self.identity, self.name), salt)

    def keep(self, kept: Sequence[Kept]) -> None:
        """Check receipts and write them down.

        Raises: SignatureError if one does not show what it should: then the coordinator is not to be trusted.
        """
        own = [
            each.model_copy(update={"salt": self._salts.get(each.signed.statement.round, "")})
            if isinstance(each.signed.statement, Evaluated)
            else each
            for each in kept
        ]
        if any(each.signed.signer != self.name for each in own):
            raise SignatureError(f"{self.name} was given a receipt for what somebody else signed")
        self._witness = check_chain(own, self._witness, len(self.run.roster))
        if self.file is not None:
            self.file.add(own)

    def remember(self) -> None:
        """Know of the log what the receipts show that were kept before this process began.

        Raises: SignatureError if one cannot be read, or does not follow on those before.
        """
        if self.file is not None:
            start = Witness(self.run.run, self.coordinator)
            self._witness = check_chain(self.file.read(), start, len(self.run.roster))

    def go_back_to(self, head: Signed) -> int:
        """Take note that the coordinator resumed the run from a log of this size; return the size last seen of it.

        Receipts for a longer log are kept apart: they show that it was longer.
        Raises: SignatureError if the head is not the coordinator's, or a receipt cannot be read.
        """
        head.check(self.coordinator)
        stated = head.statement
        if not isinstance(stated, Head) or stated.run != self.run.run:
            raise SignatureError("the head of the log is of another run")
        self._witness, self._asked, self._salts = Witness(self.run.run, self.coordinator), None, {}
        if self.file is not None:
            self.file.withdraw_after(stated.size)
            self.remember()
        return self._witness.size

    def attest(self, attestation: Attestation) -> str:
        """Return the signature over what the run came to.

        Raises: SignatureError if it is of another run or other settings, or of a log that lacks what this participant
            saw.
        """
        seen = self._witness
        if attestation.run != self.run.run or attestation.size < seen.size:
            raise SignatureError(f"{self.name} does not sign: the attestation is of another run, or of a shorter log")
        if (attestation.settings, attestation.inputs) != (self.run.settings, self.run.inputs):
            raise SignatureError(
                f"{self.name} does not sign: the attestation is of other settings or data than the log"
            )
        if attestation.size == seen.size and attestation.root != seen.root:
            raise SignatureError(f"{self.name} does not sign: the attested log is not the one that it was shown")
        return signature_of(attestation, self.identity)


def vector_digest(reply: SecureSumAnswer) -> str:
    """Return the digest of a masked vector as it travels."""
    return hashlib.sha256(reply.message).hexdigest()


class SignedWay(Protocol):
    """The way to participants that sign."""

    def exchange(self, requests: Mapping[ParticipantId, Request], asked: Signed | None) -> Iterator[SignedReply]:
        """Send all requests with the coordinator's signed statement of what they ask, and yield signed replies.

        asked: None if the requests go on with a sum.
        """
        ...

    def deliver(self, kept: Mapping[ParticipantId, Sequence[Kept]]) -> Collection[ParticipantId]:
        """Give participants the receipts for what they signed, and return who took them."""
        ...

    def go_back_to(self, head: Signed, names: Collection[ParticipantId]) -> Mapping[ParticipantId, int]:
        """Tell these that the run goes on from this log, and return which size of it each saw last.

        Who cannot be told is left out.
        """
        ...

    def attest(self, attestation: Attestation) -> Mapping[ParticipantId, str]:
        """Let everybody sign what the run came to, and return the signatures."""
        ...


class SigningParticipants:
    """Participants of one process, over an engine that neither checks nor signs."""

    def __init__(self, engine: Engine, sides: Mapping[ParticipantId, SigningSide]) -> None:
        self._engine = engine
        self._sides = sides

    def exchange(self, requests: Mapping[ParticipantId, Request], asked: Signed | None) -> Iterator[SignedReply]:
        """Let those work who accept what they are asked, and yield their replies, each with its signature."""
        works = {name: work_of(request) for name, request in requests.items()}
        digests = {id(work): request_digest(work).hex() for work in works.values() if work is not None}
        accepted = {}
        for name, request in requests.items():
            try:
                self._sides[name].accept(request, digests.get(id(works[name]), ""), asked)
                accepted[name] = request
            except SignatureError as error:
                yield SignedReply(name, Failure(f"did not do what it was asked: {error}"))
        for name, reply in self._engine.exchange(accepted):
            try:
                yield self._sides[name].signed(requests[name], reply)
            except (SignatureError, ParticipantError) as error:
                yield SignedReply(name, Failure(f"did not sign its reply: {error}"))

    def deliver(self, kept: Mapping[ParticipantId, Sequence[Kept]]) -> Collection[ParticipantId]:
        """Give each its receipts, and return everybody. Raises: SignatureError if one finds the log changed."""
        for name, given in kept.items():
            self._sides[name].keep(given)
        return kept.keys()

    def go_back_to(self, head: Signed, names: Collection[ParticipantId]) -> Mapping[ParticipantId, int]:
        """Tell these, and return which size of the log each saw last."""
        return {name: self._sides[name].go_back_to(head) for name in names}

    def attest(self, attestation: Attestation) -> Mapping[ParticipantId, str]:
        """Return everybody's signature. Raises: SignatureError if one refuses."""
        return {name: side.attest(attestation) for name, side in self._sides.items()}
