"""The coordinator's side of signed rounds: it counts nothing that its sender did not sign, and logs what it counted.

It signs what it asks, checks each answer, and logs what became of the round. It needs its own private key, and the
participants' public ones.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foedus.core.durable import sync
from foedus.core.errors import ParticipantError, RunFolderError, SecureSumError, SignatureError
from foedus.federation.collect import CollectedEvaluation
from foedus.federation.messages import (
    Evaluation,
    Failure,
    LocalUpdate,
    ParticipantId,
    Reply,
    Request,
    SecureSumAnswer,
    SecureSumStep,
)
from foedus.federation.protocols import Engine, ServerState
from foedus.federation.round import RoundReport
from foedus.privacy.signing.digests import evaluation_digest, request_digest, sum_digest, tree_digest, update_digest
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.log import Log, receipt, signed_head
from foedus.privacy.signing.masked_rounds import WatchedSum
from foedus.privacy.signing.receipts import Kept
from foedus.privacy.signing.sealed import Seal, seal
from foedus.privacy.signing.signing_side import (
    SignedReply,
    SignedWay,
    is_signed,
    purpose_of,
    round_of,
    vector_digest,
    work_of,
)
from foedus.privacy.signing.statements import (
    COORDINATOR,
    Evaluated,
    Masked,
    Purpose,
    Requested,
    RoundResult,
    RunBegun,
    Signed,
    Updated,
    sign,
)

POSITION = "log.json"  # in a checkpoint: how long the log was, and its root


@dataclass
class _Asking:
    """One thing that was asked in a round, what the participants signed on it, and the sum that it is for, if any.

    digests: of the request that each was sent. answers: the first valid statement of each.
    """

    asked: Signed
    round: int
    purpose: Purpose
    digests: Mapping[ParticipantId, str]
    watched: WatchedSum | None
    answers: dict[ParticipantId, Signed] = field(default_factory=dict)

    def in_order(self) -> Mapping[ParticipantId, Signed]:
        """Return the answers in the order of the log: of a sum its roster's, and otherwise as they came."""
        if self.watched is None or not self.answers:
            return self.answers
        return {name: self.answers[name] for name in self.watched.survivors if name in self.answers}


@dataclass
class _Due:
    """A receipt that is not given yet: which entry of the log it is for, and what a sealed round adds."""

    kept: Signed
    index: int
    result: Signed | None = None
    seal: Seal | None = None


class SignedEngine:
    """An engine that passes on no reply but those that their senders signed, and logs those that counted.

    way: to the participants; `engine` is for what is not signed. log: begins with the statement of the run.
    """

    def __init__(self, engine: Engine, way: SignedWay, *, coordinator: Identity, log: Log) -> None:
        begun = log.entries[0].statement
        assert isinstance(begun, RunBegun), "a log begins with its run"
        self._engine = engine
        self._way = way
        self._begun = begun
        self._coordinator = coordinator
        self._roster = {name: PublicKey.from_hex(key) for name, key in begun.roster.items()}
        self.log = log
        self._open: list[_Asking] = []
        self._counted: Collection[ParticipantId] = ()
        self._due: list[_Due] = []
        self._seen = dict.fromkeys(self._roster, 0)
        self._behind: dict[ParticipantId, Signed] = {}  # who has not said what it saw last, since the log was so long

    def population(self) -> Sequence[ParticipantId]:
        """Return every participant, in a fixed order."""
        return self._engine.population()

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Pass requests and replies on; a reply without its sender's signature becomes a Failure."""
        if not any(is_signed(request) for request in requests.values()):
            yield from self._engine.exchange(requests)
            return
        asking = self._asking(requests)
        first = any(work_of(request) is not None for request in requests.values())
        if asking.watched is not None:
            asking.watched.sent(requests)
        for signed in self._way.exchange(requests, asking.asked if first else None):
            yield signed.participant, self._checked(signed, asking)

    def _asking(self, requests: Mapping[ParticipantId, Request]) -> _Asking:
        """Return what is being asked: something new, which is signed here, or the sum that these requests go on with.

        Raises: SignatureError if not all are asked for the same.
        """
        works = {name: work_of(request) for name, request in requests.items()}
        sums = {isinstance(request, SecureSumStep) for request in requests.values()}
        wanted = {None if work is None else (purpose_of(work), round_of(work)) for work in works.values()}
        if len(wanted) > 1 or len(sums) > 1:
            raise SignatureError("a signed round asks everybody for the same, or nobody; this one does not")
        if wanted == {None}:
            if not self._open or self._open[-1].watched is None:
                raise SignatureError("a secure sum goes on that never began")
            return self._open[-1]
        given = {id(work): work for work in works.values() if work is not None}
        by_object = {key: request_digest(work).hex() for key, work in given.items()}
        some = next(iter(given.values()))
        number, purpose = round_of(some), purpose_of(some)
        asked = Requested(run=self._begun.run, round=number, purpose=purpose, requests=sorted(set(by_object.values())))
        asking = _Asking(
            sign(asked, self._coordinator, COORDINATOR),
            number,
            purpose,
            {name: by_object[id(work)] for name, work in works.items()},
            WatchedSum() if sums == {True} else None,
        )
        self._open.append(asking)
        return asking

    def _checked(self, signed: SignedReply, asking: _Asking) -> Reply:
        """Return the reply if its sender signed it in answer to what it was sent, or else a Failure."""
        name, reply, statement = signed.participant, signed.reply, signed.signed
        watched = asking.watched
        if isinstance(reply, Failure) or (watched is not None and not watched.expects_vectors):
            return reply
        try:
            expected = self._expected(signed, asking)
            if expected is None:
                return reply  # the collector refuses what does not answer its request
            if statement is None or name not in asking.digests:
                raise SignatureError("nothing of it is signed, or it was not asked")
            if statement.statement != expected or statement.signer != name:
                raise SignatureError("what it signed is not this reply, or answers another request")
            statement.check(self._roster[name])
        except (SignatureError, ParticipantError, SecureSumError) as error:
            return Failure(f"sent a reply that does not count: {error}")
        asking.answers.setdefault(name, statement)  # of a participant's replies the first one counts
        return reply

    def _expected(self, signed: SignedReply, asking: _Asking) -> Updated | Evaluated | Masked | None:
        """Return what the participant must have signed; None for a reply of another kind."""
        reply, name = signed.reply, signed.participant
        run, number, sent = self._begun.run, asking.round, asking.digests.get(name, "0" * 64)
        match reply:
            case LocalUpdate() if asking.watched is None and asking.purpose == "update":
                digest = update_digest(reply).hex()
                return Updated(run=run, round=number, participant=name, request=sent, update=digest)
            case Evaluation() if asking.watched is None and asking.purpose == "evaluation":
                digest = evaluation_digest(reply.sums, signed.salt).hex()
                return Evaluated(run=run, round=number, participant=name, request=sent, figures=digest)
            case SecureSumAnswer() if asking.watched is not None:
                return Masked(
                    run=run,
                    round=number,
                    purpose=asking.purpose,
                    participant=name,
                    request=sent,
                    roster=asking.watched.roster_digest,
                    vector=vector_digest(reply),
                )
            case _:
                return None

    def settle(self, counted: Collection[ParticipantId]) -> None:
        """Note who counted, for the log, and tell the participants."""
        self._counted = counted
        self._engine.settle(counted)

    def note_evaluation(self, evaluation: CollectedEvaluation) -> None:
        """Log the evaluation before the first round."""
        self._write(self._entries("evaluation", evaluation.left_out))

    def note(self, state: ServerState, report: RoundReport) -> None:
        """Log the round: what was asked, the signed answers that counted, and the signed result.

        Raises: SignatureError if the log cannot be written.
        """
        sealed, total = self._begun.rounds == "sealed", report.collected.total
        updates = {name: s for a in self._open if a.purpose == "update" for name, s in a.in_order().items()}
        counted = {name: signed for name, signed in updates.items() if name in self._counted}
        closed = seal(counted, len(self._roster)) if sealed else None
        result = RoundResult(
            run=self._begun.run,
            round=report.round,
            stood=report.stood,
            cohort=[] if sealed else list(report.cohort),
            counted=[] if sealed else list(counted),
            total=None if sealed or not counted else sum_digest(total.averaged, total.summed, total.weight).hex(),
            sealed=closed.root if closed else None,
            params=tree_digest(state.params).hex(),
            privacy=plain(report.privacy),
        )
        left_out = {name: "" for name in updates if name not in counted}
        entries = [] if sealed else self._entries("update", left_out, stood=bool(counted))
        evaluation = report.evaluation
        entries += self._entries("evaluation", evaluation.left_out if evaluation else {})
        signed = sign(result, self._coordinator, COORDINATOR)
        index = self._write([*entries, signed]) + len(entries)
        if closed is not None:
            self._due += [_Due(update, index, signed, closed) for update in counted.values()]
        self._open, self._counted = [], ()

    def _entries(self, purpose: Purpose, left_out: Collection[ParticipantId], *, stood: bool = True) -> list[Signed]:
        """Return what the log says of one thing that was asked: the request, who answered it, and of a sum whose it is.

        stood: False leaves all but the request out.
        """
        entries: list[Signed] = []
        for asking in (each for each in self._open if each.purpose == purpose):
            entries.append(asking.asked)
            answers = {name: signed for name, signed in asking.in_order().items() if name not in left_out}
            if not stood or not answers:
                continue
            if asking.watched is None:
                entries += answers.values()
                continue
            summed = asking.watched.summed(self._begun.run, asking.round, purpose)
            entries += answers.values()
            entries.append(sign(summed, self._coordinator, COORDINATOR))
        self._open = [each for each in self._open if each.purpose != purpose]
        return entries

    def _write(self, entries: Sequence[Signed]) -> int:
        """Append entries, remember whose receipts are due, and return the first one's index."""
        first = self.log.extend(entries)
        self._due += [_Due(entry, index) for index, entry in enumerate(entries, first) if entry.signer in self._roster]
        return first

    def keep(self) -> None:
        """Give the participants their receipts: a checkpoint is written, and the log never goes back behind it.

        Who is away gets its own when it is back.
        Raises: SignatureError if one of this process finds the log changed.
        """
        for name, back in list(self._behind.items()):
            self._go_back_to(back, [name])
        if not self._due:
            return
        head = signed_head(self.log, self._begun.run, self._coordinator, COORDINATOR)
        given: dict[ParticipantId, list[Kept]] = {}
        there = [due for due in self._due if due.kept.signer not in self._behind]
        for due in [due for due in there if due.index >= self._seen[due.kept.signer]]:
            name = due.kept.signer
            proof = receipt(self.log, head, due.index, self._seen[name])
            opening = due.seal.openings[name] if due.seal else None
            given.setdefault(name, []).append(Kept(signed=due.kept, result=due.result, opening=opening, receipt=proof))
            self._seen[name] = len(self.log)
        taken = self._way.deliver(given)
        self._behind |= {name: head for name in given if name not in taken}
        self._due = [due for due in self._due if due.kept.signer in self._behind]

    def _go_back_to(self, head: Signed, names: Collection[ParticipantId]) -> None:
        """Tell participants how long the log is, and note what each saw last of it."""
        told = self._way.go_back_to(head, names)
        self._seen |= told
        for name in names:
            if name in told:
                self._behind.pop(name, None)
            else:
                self._behind[name] = head

    def save_memories(self, folder: Path) -> None:
        """Write what the participants remember, and how long the log is."""
        self._engine.save_memories(folder)
        position = folder / POSITION
        position.write_text(json.dumps({"size": len(self.log), "root": self.log.tree.root().hex()}))
        sync(position)
        sync(folder)

    def load_memories(self, folder: Path) -> None:
        """Make the participants remember, and forget what was logged later. Receipts that a crash held back are given.

        Raises: RunFolderError if a file is missing or damaged; SignatureError if the log was changed.
        """
        try:
            position = json.loads((folder / POSITION).read_text())
            size, root = int(position["size"]), str(position["root"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{folder / POSITION} cannot be read; it is missing or damaged") from error
        self._engine.load_memories(folder)
        self.log.forget_after(size, root)
        self.start_over()

    def start_over(self) -> None:
        """Forget what is not logged, tell the participants how long the log is, and give receipts that are missing.

        Raises: SignatureError if a participant finds the log changed.
        """
        self._open, self._counted = [], ()
        head = signed_head(self.log, self._begun.run, self._coordinator, COORDINATOR)
        self._go_back_to(head, list(self._roster))
        self._due = [
            _Due(entry, index)
            for index, entry in enumerate(self.log.entries)
            if entry.signer in self._roster and index >= self._seen[entry.signer]
        ]
        self.keep()


def plain(value: Any) -> Any:
    """Return JSON values as they come back from a file.

    Raises: SignatureError if there are none such.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError) as error:
        raise SignatureError(f"a figure of the run cannot be signed: {error}") from error
