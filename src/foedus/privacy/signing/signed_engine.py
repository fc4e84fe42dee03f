"""Rounds in which every participant signs its update, and the coordinator counts no other.

Participants check the coordinator's signature on what they are asked, and sign what they answer. The
coordinator checks each answer, and logs what it counted and what became of the round.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from foedus.core.errors import ParticipantError, RunFolderError, SignatureError
from foedus.federation.checkpoints import sync
from foedus.federation.messages import Failure, LocalUpdate, ParticipantId, Reply, Request, Train
from foedus.federation.protocols import Engine, ServerState
from foedus.federation.round import RoundReport
from foedus.privacy.signing.digests import request_digest, tree_digest, update_digest
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.log import Log, Witness, receipt, signed_head
from foedus.privacy.signing.statements import Requested, RoundResult, Signed, Updated, sign

COORDINATOR = "coordinator"
POSITION = "log.json"  # in a checkpoint: how long the log was, and its root

# A participant's reply, and its signed statement of it if it is an update.
SignedReply = tuple[ParticipantId, Reply, Signed | None]


class SignedWay(Protocol):
    """The way to participants that sign."""

    def train(self, requests: Mapping[ParticipantId, Train], asked: Signed) -> Iterator[SignedReply]:
        """Send all requests with the coordinator's signed statement of them, and yield signed replies."""
        ...


class SigningParticipants:
    """Participants that check what they are asked and sign what they answer, over an engine that does neither."""

    def __init__(
        self, engine: Engine, run: str, coordinator: PublicKey, identities: Mapping[ParticipantId, Identity]
    ) -> None:
        self._engine = engine
        self._run = run
        self._coordinator = coordinator
        self._identities = identities

    def train(self, requests: Mapping[ParticipantId, Train], asked: Signed) -> Iterator[SignedReply]:
        """Let the asked participants work, and yield their replies, each with its signature."""
        received = {id(request): request_digest(request).hex() for request in requests.values()}
        for name, reply in self._engine.exchange(requests):
            request = requests[name]
            yield self._signed(name, reply, received[id(request)], request.broadcast.clock.round + 1, asked)

    def _signed(self, name: ParticipantId, reply: Reply, received: str, number: int, asked: Signed) -> SignedReply:
        if not isinstance(reply, LocalUpdate):
            return name, reply, None
        try:
            asked.check(self._coordinator)
            stated = asked.statement
            if not isinstance(stated, Requested) or (stated.run, stated.round) != (self._run, number):
                raise SignatureError("what the coordinator signed is of another round")
            if received not in stated.requests:
                raise SignatureError("what the coordinator signed is not what it asked")
            digest = update_digest(reply).hex()
        except (SignatureError, ParticipantError) as error:
            return name, Failure(f"did not sign its update: {error}"), None
        answered = Updated(run=self._run, round=number, participant=name, request=received, update=digest)
        return name, reply, sign(answered, self._identities[name], name)


class SignedEngine:
    """An engine that passes on no update but those that their senders signed, and logs those that counted.

    way: to the participants for training; `engine` is for all else.
    roster: the participants' public keys. log: begins with the statement of the run.
    """

    def __init__(
        self,
        engine: Engine,
        way: SignedWay,
        *,
        run: str,
        coordinator: Identity,
        roster: Mapping[ParticipantId, PublicKey],
        log: Log,
    ) -> None:
        self._engine = engine
        self._way = way
        self._run = run
        self._coordinator = coordinator
        self._roster = roster
        self.log = log
        self._asked: Signed | None = None
        self._updates: dict[ParticipantId, Signed] = {}
        self._counted: list[Signed] = []
        self._witnesses = {name: self._witness() for name in roster}

    def population(self) -> Sequence[ParticipantId]:
        """Return every participant, in a fixed order."""
        return self._engine.population()

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Pass requests and replies on; an update without its sender's signature becomes a Failure."""
        training = {name: request for name, request in requests.items() if isinstance(request, Train)}
        if not training:
            yield from self._engine.exchange(requests)
            return
        if len(training) < len(requests):
            raise SignatureError("a signed round asks everybody to train, or nobody; this one does not")
        distinct = {id(request): request_digest(request).hex() for request in training.values()}
        number = next(iter(training.values())).broadcast.clock.round + 1
        asked = Requested(run=self._run, round=number, requests=sorted(set(distinct.values())))
        self._asked = sign(asked, self._coordinator, COORDINATOR)
        self._updates = {}
        for name, reply, signed in self._way.train(training, self._asked):
            sent = distinct[id(training[name])] if name in training else ""
            yield name, self._checked(name, reply, signed, number, sent)

    def _checked(self, name: ParticipantId, reply: Reply, signed: Signed | None, number: int, sent: str) -> Reply:
        """sent: digest of the request that this participant was sent."""
        if not isinstance(reply, LocalUpdate):
            return reply
        try:
            if signed is None or not sent:
                raise SignatureError("nothing of it is signed, or it was not asked")
            digest = update_digest(reply).hex()
            expected = Updated(run=self._run, round=number, participant=name, request=sent, update=digest)
            if signed.statement != expected or signed.signer != name:
                raise SignatureError("what it signed is not this update, or answers another request")
            signed.check(self._roster[name])
        except (SignatureError, ParticipantError) as error:
            return Failure(f"sent an update that does not count: {error}")
        if name not in self._updates:  # of a participant's replies the first one counts
            self._updates[name] = signed
        return reply

    def settle(self, counted: Collection[ParticipantId]) -> None:
        """Keep the signed updates of those who counted for the log, and tell the participants."""
        self._counted = [signed for name, signed in self._updates.items() if name in counted]
        self._updates = {}
        self._engine.settle(counted)

    def note(self, state: ServerState, report: RoundReport) -> None:
        """Log the round: what was asked, the updates that counted, and the signed result. Give those who counted
        their receipts.

        Raises: SignatureError if the log cannot be written, or a participant finds it changed.
        """
        result = RoundResult(
            run=self._run,
            round=report.round,
            stood=report.stood,
            cohort=list(report.cohort),
            counted=[signed.signer for signed in self._counted],
            params=tree_digest(state.params).hex(),
            privacy=plain(report.privacy),
        )
        asked = [self._asked] if self._asked is not None else []
        first = self.log.extend([*asked, *self._counted, sign(result, self._coordinator, COORDINATOR)]) + len(asked)
        head = signed_head(self.log, self._run, self._coordinator, COORDINATOR)
        for index, signed in enumerate(self._counted, first):
            witness = self._witnesses[signed.signer]
            self._witnesses[signed.signer] = witness.accept(signed, receipt(self.log, head, index, witness.size))
        self._asked, self._counted = None, []

    def save_memories(self, folder: Path) -> None:
        """Write what the participants remember, and how long the log is."""
        self._engine.save_memories(folder)
        position = folder / POSITION
        position.write_text(json.dumps({"size": len(self.log), "root": self.log.tree.root().hex()}))
        sync(position)
        sync(folder)

    def load_memories(self, folder: Path) -> None:
        """Make the participants remember, and forget what was logged later.

        Raises: RunFolderError if a file is missing or damaged; SignatureError if the log was changed.
        """
        try:
            position = json.loads((folder / POSITION).read_text())
            size, root = int(position["size"]), str(position["root"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{folder / POSITION} cannot be read; it is missing or damaged") from error
        self._engine.load_memories(folder)
        self.log.forget_after(size, root)
        self._asked, self._updates, self._counted = None, {}, []
        self._witnesses = {name: self._witness() for name in self._roster}

    def _witness(self) -> Witness:
        """Return what a participant knows of the log as it is now."""
        return Witness(self._run, self._coordinator.public, len(self.log), self.log.tree.root().hex())


def plain(value: Any) -> Any:
    """Return JSON values as they come back from a file.

    Raises: SignatureError if there are none such.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError) as error:
        raise SignatureError(f"a figure of the run cannot be signed: {error}") from error
