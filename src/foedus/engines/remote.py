"""The engine of a run between organisations: requests and replies as bytes, over any way to the participants.

What participants remember stays with them. They keep it under the numbers of the rounds, so that a run which goes on
from a checkpoint calls them back to the same round.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foedus.core.durable import sync
from foedus.core.errors import MessageError, RunFolderError
from foedus.engines.codec.messages import Answer, Question, decode_answer, encode_question
from foedus.engines.codec.tensors import Limits, Piece
from foedus.engines.way import Letter, Silence, Way
from foedus.federation.membership import Agree, Begin, Finish, Recall, Settle, TellCost, Told
from foedus.federation.messages import (
    CountPairs,
    DryRound,
    Evaluate,
    Failure,
    ParticipantId,
    Reply,
    Request,
    SecureSumStep,
    Train,
    TrainAlone,
)
from foedus.privacy.signing.envelopes import Attest, GiveReceipts, GoBack, OpenLog, Paper, SignedAnswer, SignedRequest
from foedus.privacy.signing.signing_side import SignedReply
from foedus.privacy.signing.statements import Signed

INDEX = "participants.json"
MAX_TOLD_BYTES = 1 << 26  # of what is told beside rounds
MAX_COST_BYTES = 1 << 20  # of what is told of the privacy that a run cost
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 600.0  # until who refused is asked again: each time twice as long
_WRONG = Failure("answered another question")


@dataclass(frozen=True)
class _Refusal:
    """Why a participant takes no part, and when it is asked again."""

    reason: str
    wait_s: float
    until: float


class RemoteEngine:
    """Participants that are reached over a way.

    One that does not answer in time has dropped out: it is asked nothing more until it can be reached again, which is
    tried whenever work begins. It is then told anew what the run is, and where it stands. One that refuses the run is
    asked again at growing intervals, for its file may have changed.
    run: the run's id. names: all participants. notice: is told who is lost, why, and who is back. now: seconds.
    least: with fewer, work comes to nothing. wait: is told who is missing as long as fewer can be reached when work
        begins; it takes its time, and raises to end the run. Without it, work begins with whoever is there.
    """

    def __init__(
        self,
        way: Way,
        run: str,
        names: Sequence[ParticipantId],
        *,
        limits: Limits | None = None,
        notice: Callable[[ParticipantId, str], None] = lambda name, what: None,
        now: Callable[[], float] = time.monotonic,
        least: int = 1,
        wait: Callable[[Collection[ParticipantId]], None] | None = None,
    ) -> None:
        self._way = way
        self._least = least
        self._wait = wait
        self.run = run
        self.largest_answer: int | None = None  # in bytes, once the model is known
        self._names = tuple(names)
        self._limits = limits or Limits()
        self._notice = notice
        self._setup: tuple[Begin | Agree | OpenLog, ...] = ()
        self._ready: dict[ParticipantId, int] = {}  # how many of the setup's messages each one knows
        self._absent: set[ParticipantId] = set()
        self._refusals: dict[ParticipantId, _Refusal] = {}
        self._now = now
        self._round = 0
        self._trained: set[ParticipantId] = set()
        self._due: dict[ParticipantId, Settle | Recall] = {}

    def population(self) -> Sequence[ParticipantId]:
        """Return every participant, in the order given."""
        return self._names

    def only(self, names: Sequence[ParticipantId]) -> None:
        """Go on with these participants alone."""
        self._names = tuple(names)

    def introduce(self, message: Begin | Agree | OpenLog) -> Mapping[ParticipantId, Told | Failure]:
        """Tell everybody what the run is, what all agree on, or how its log begins, and return what each answers.

        Whoever comes back later is told it too.
        """
        before = [known for known in self._setup if type(known) is not type(message)]  # a later one replaces it
        self._setup = (*before, message)
        self._ready = {name: min(known, len(before)) for name, known in self._ready.items()}
        answers = self._ask_anew({name: message for name in self._names if name not in self._absent})
        found = {name: answer for name, answer in answers if isinstance(answer, Told | Failure)}
        for name, answer in found.items():
            if isinstance(answer, Told):
                self._ready[name] = len(self._setup)
            else:
                self._refused(name, answer.reason)
        return found

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Send all requests and yield replies as they come; a reply that cannot be read is a Failure."""
        for name, answer in self._exchange(requests, requests):
            yield name, _WRONG if isinstance(answer, Told | SignedAnswer) else answer

    def exchange_signed(self, requests: Mapping[ParticipantId, Request], asked: Signed | None) -> Iterator[SignedReply]:
        """Send all requests with what the coordinator signed of them, and yield replies as they come."""
        envelopes = {id(request): SignedRequest(request, asked) for request in requests.values()}
        sent = {name: envelopes[id(request)] for name, request in requests.items()}
        for name, answer in self._exchange(requests, sent):
            match answer:
                case SignedAnswer(reply, signed, salt):
                    yield SignedReply(name, reply, signed, salt)
                case Failure():
                    yield SignedReply(name, answer)
                case _:
                    yield SignedReply(name, _WRONG)

    def hand(self, papers: Mapping[ParticipantId, Paper | TellCost | Finish]) -> Mapping[ParticipantId, Told]:
        """Hand what is not work to those who are there, and return what each tells; who refuses is noted."""
        told = {}
        for name, answer in self._ask_anew({name: paper for name, paper in papers.items() if name not in self._absent}):
            if isinstance(answer, Told):
                told[name] = answer
            else:
                self._notice(name, f"did not take it: {(answer if isinstance(answer, Failure) else _WRONG).reason}")
        return told

    def gather(self) -> Collection[ParticipantId]:
        """Look for those who were given up, bring them to where the run stands, and return who is still missing."""
        self._find_again(self._names)
        self._catch_up([name for name in self._names if name not in self._absent])
        return self.absent()

    def _exchange(
        self, requests: Mapping[ParticipantId, Request], sent: Mapping[ParticipantId, Question]
    ) -> Iterator[tuple[ParticipantId, Answer]]:
        """Ask for work and yield the answers. sent: in what each request travels."""
        asked = {name: request for name, request in requests.items() if name in self._names}
        begins = any(_begins_work(request) for request in asked.values())
        if begins:
            self._bring_together(asked)
        asked = {name: request for name, request in asked.items() if name not in self._absent}
        for name, request in asked.items():
            if (clock := _clock_of(request)) is not None:
                self._round = clock + 1
                self._trained.add(name)
        letters = {name: sent[name] for name in asked}
        yield from self._ask_anew(letters) if begins else self._ask(letters)

    def settle(self, counted: Collection[ParticipantId]) -> None:
        """Tell those who trained since the last call whether their update is in the model."""
        self._due |= {name: Settle(self._round, name in counted) for name in self._trained}
        self._trained = set()
        self._deliver([name for name in self._due if name not in self._absent])

    def save_memories(self, folder: Path) -> None:
        """Write down which round it is; what they remember, participants keep themselves."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).write_text(json.dumps({"round": self._round}))
        sync(folder / INDEX)
        sync(folder)

    def load_memories(self, folder: Path) -> None:
        """Make the participants go back to the round of a folder of save_memories.

        Raises: RunFolderError if the file is missing or damaged.
        """
        try:
            self._round = int(json.loads((folder / INDEX).read_text())["round"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{folder / INDEX} cannot be read; it is missing or damaged") from error
        self._trained = set()
        self._due = dict.fromkeys(self._names, Recall(self._round))
        self._deliver([name for name in self._names if name not in self._absent])

    def ask_costs(self) -> Mapping[ParticipantId, Told]:
        """Ask everybody who is there what the run cost it, and return what each tells; who refuses is noted."""
        return self.hand(dict.fromkeys(self._names, TellCost()))

    def finish(self) -> None:
        """Tell everybody who is there that the run is over."""
        self.hand(dict.fromkeys(self._names, Finish()))

    def absent(self) -> Collection[ParticipantId]:
        """Return those who are given up until they are found again."""
        return frozenset(self._absent)

    def _bring_together(self, asked: Collection[ParticipantId]) -> None:
        """Look for those who were given up, and wait as long as too few are there and others may come."""
        sought: Collection[ParticipantId] = asked
        while True:
            self._find_again(sought)
            self._catch_up([name for name in sought if name not in self._absent])
            away = [name for name in asked if name in self._absent and name not in self._refusals]
            there = sum(name not in self._absent for name in asked)
            least = min(self._least, len(asked))
            if self._wait is None or there >= least or there + len(away) < least:
                return
            self._wait(away)
            sought = away

    def _find_again(self, asked: Collection[ParticipantId]) -> None:
        """Tell those who are back what they missed."""
        lost = [name for name in asked if name in self._absent and self._may_be_asked(name)]
        for name in self._way.reachable(lost):
            self._absent.discard(name)
            self._forgets(name)  # it may have been started anew
            if name not in self._refusals:
                self._notice(name, "is back")

    def _forgets(self, name: ParticipantId) -> None:
        """Note that somebody has to be told anew what the run is, and where it stands."""
        self._ready[name] = 0
        self._due.setdefault(name, Recall(self._round))

    def _catch_up(self, names: Sequence[ParticipantId]) -> None:
        """Bring everybody to where the run stands."""
        for step, message in enumerate(self._setup):
            late = [name for name in names if self._ready.get(name, 0) <= step and name not in self._absent]
            for name, answer in self._ask(dict.fromkeys(late, message)):
                if isinstance(answer, Told):
                    self._ready[name] = step + 1
                else:
                    why = answer.reason if isinstance(answer, Failure) else "it answered another question"
                    self._refused(name, why)
        for name in [name for name in names if name in self._refusals and name not in self._absent]:
            del self._refusals[name]
            self._notice(name, "is back")
        self._deliver([name for name in names if name in self._due and name not in self._absent])

    def _deliver(self, names: Sequence[ParticipantId]) -> None:
        """Deliver what is due to some; what does not arrive stays due."""
        due = {name: self._due[name] for name in names if name in self._due}
        for name, answer in self._ask(due):
            if isinstance(answer, Told):
                del self._due[name]

    def _ask_anew(self, questions: Mapping[ParticipantId, Question]) -> Iterator[tuple[ParticipantId, Answer]]:
        """Ask, and ask those once more who were started again meanwhile: what only begins is not lost by that."""
        forgetful = []
        for name, answer in self._ask(questions):
            if self._ready.get(name) == 0:
                forgetful.append(name)
            else:
                yield name, answer
        if forgetful:
            self._catch_up(forgetful)
            yield from self._ask({name: questions[name] for name in forgetful if name not in self._absent})

    def _ask(self, questions: Mapping[ParticipantId, Question]) -> Iterator[tuple[ParticipantId, Answer]]:
        """Ask and yield what comes back. Who cannot be reached is lost, and not yielded."""
        encoded: dict[int, list[Piece]] = {}
        letters = {}
        for name, question in questions.items():
            if id(question) not in encoded:
                encoded[id(question)] = encode_question(question)
            letters[name] = Letter(self.run, kind_of(question), encoded[id(question)], self._most(question))
        if not letters:
            return
        for name, came in self._way.ask(letters):
            if isinstance(came, Silence):
                if not came.reached:
                    self._lose(name, came.reason)
                    continue
                if came.forgot:
                    self._forgets(name)
                yield name, Failure(came.reason)
                continue
            try:
                answer = decode_answer(came, self._limits)
            except MessageError as error:
                answer = Failure(f"sent a reply that cannot be read: {error}")
            del came
            yield name, answer
            del answer  # the next one is put together while this generator waits for it

    def _most(self, question: Question) -> int:
        """Return the bytes that an answer may have."""
        match question:
            case Train() | DryRound() | Evaluate() | SecureSumStep() | SignedRequest():
                return self.largest_answer or self._limits.message_bytes
            case CountPairs():
                return self._limits.message_bytes
            case TellCost():
                return MAX_COST_BYTES
            case _:
                return MAX_TOLD_BYTES

    def _may_be_asked(self, name: ParticipantId) -> bool:
        return name not in self._refusals or self._now() >= self._refusals[name].until

    def _refused(self, name: ParticipantId, why: str) -> None:
        """Ask it nothing for a while; the same reason is told once."""
        before = self._refusals.get(name)
        wait_s = FIRST_WAIT_S if before is None else min(2 * before.wait_s, LONGEST_WAIT_S)
        self._refusals[name] = _Refusal(why, wait_s, self._now() + wait_s)
        if before is not None and before.reason == why:
            self._absent.add(name)
        else:
            self._lose(name, f"refused: {why}")

    def _lose(self, name: ParticipantId, why: str) -> None:
        if name not in self._absent:
            self._absent.add(name)
            self._notice(name, why)


def kind_of(question: Question) -> str:
    """Return what a question asks for, in a word."""
    match question:
        case Train() | DryRound():
            return "train"
        case Evaluate(compare=compare):
            return "compare" if compare else "evaluate"  # each kind of work has its own pace
        case TrainAlone():
            return "alone"
        case CountPairs():
            return "count"
        case SecureSumStep(of=of):
            return "step" if of is None else kind_of(of)
        case Begin():
            return "begin"
        case Agree():
            return "agree"
        case SignedRequest(request):
            return kind_of(request)
        case OpenLog():
            return "open"
        case Settle() | Recall() | GiveReceipts() | GoBack():
            return "notice"
        case TellCost() | Attest():
            return "reckon"  # for both a participant computes what the run cost it
        case Finish():
            return "finish"


def _begins_work(request: Request) -> bool:
    return not (isinstance(request, SecureSumStep) and request.of is None)


def _clock_of(request: Request) -> int | None:
    """Return the round that a request trains in, counted from 0; None if it does not train."""
    train = request.of if isinstance(request, SecureSumStep) else request
    return train.broadcast.clock.round if isinstance(train, Train) else None
