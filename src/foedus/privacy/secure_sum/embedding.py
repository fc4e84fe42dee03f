"""Secure sums inside a run: the collector that drives one over an engine, and the side that answers it.

Both halves derive the terms from what they have themselves: the coordinator from the strategy, the
participant from the request that it got and the update that it made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import torch

from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError, ParticipantError, SecureSumError
from foedus.federation.alone import BESIDE, FEDERATED, joined
from foedus.federation.collect import Collected, CollectedEvaluation, Collector, Received, Requests, RunningSum
from foedus.federation.counting import CollectedCounts
from foedus.federation.messages import (
    CountPairs,
    Counts,
    DryRound,
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    ParticipantId,
    Reply,
    SecureSumAnswer,
    SecureSumStep,
    Summable,
    Sums,
    Train,
    Trees,
    payload_bytes,
)
from foedus.federation.protocols import Algorithm
from foedus.privacy.secure_sum.contents import (
    Contents,
    Scale,
    contents_of_counts,
    contents_of_evaluations,
    read_counts,
    read_evaluations,
    write_counts,
    write_evaluation,
)
from foedus.privacy.secure_sum.exchanges import Outcome, Summation
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.kinds import SumKind
from foedus.privacy.secure_sum.packing import GridPacking, Pack, Packing
from foedus.privacy.secure_sum.participant import ANSWERED_BEFORE, Member, Participation, answer_name
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.signing.digests import request_digest

UPDATE, EVALUATION, DRY, PAIRS = "update", "evaluation", "dry round", "pairs"


@dataclass
class _Digests:
    """Remembers the digest of the last request: in one process, all participants are sent the same object."""

    last: tuple[Summable, bytes] | None = None

    def of(self, request: Summable) -> bytes:
        if self.last is None or self.last[0] is not request:
            self.last = request, request_digest(request)
        return self.last[1]


@dataclass(frozen=True)
class SecureSums:
    """What all sides of a run agree on before it begins.

    statistics_like: names and shapes of evaluation statistics. kind: how sums are kept from being opened further.
    pack: how updates become words; on the grid of `scale` unless told.
    evaluation_rules: where more take part in an evaluation than in a round, so that `rules` may not suit it.
    """

    task: str
    run: str
    rules: Rules
    scale: Scale
    identities: Identities
    algorithm: Algorithm
    statistics_like: Sums
    kind: SumKind
    pack: Pack | None = None
    evaluation_rules: Rules | None = None
    _digests: _Digests = field(default_factory=_Digests, repr=False)

    def packing(self, averaged_like: Trees, summed_like: Trees) -> Packing:
        """Return how updates of these names and shapes become words."""
        if self.pack is None:
            return GridPacking.of(averaged_like, summed_like, self.scale)
        return self.pack(averaged_like, summed_like)

    def evaluated_like(self, request: Evaluate) -> Sums:
        """Return names and shapes of what answers an evaluation: statistics of one model, or of those compared."""
        like = self.statistics_like
        return joined(dict.fromkeys((FEDERATED, *BESIDE), like)) if request.compare else like

    def terms(self, request: Summable, round_number: int, contents: Contents | Packing) -> Terms:
        """Return the terms of the sum that a request asks for."""
        purpose = {Train: UPDATE, Evaluate: EVALUATION, DryRound: DRY, CountPairs: PAIRS}[type(request)]
        return Terms(
            self.task,
            self.run,
            round_number,
            purpose,
            self._digests.of(request),
            sha256(self.kind.describe().encode() + b"\x00" + contents.settings).digest(),
            self.rules if purpose == UPDATE else self.evaluation_rules or self.rules,
            contents.layout,
        )

    def collect_updates(self, requests: Mapping[ParticipantId, Train], total: RunningSum) -> Collector[Collected]:
        """Fill `total` with a sum that nobody can open further, in a few exchanges; without one it stays empty."""
        train = _the_same(requests)
        if train is None:
            return Collected(total, {}, {}, {}, 0, 0)
        packing, round_index = self.packing(total.averaged_like, total.summed_like), train.broadcast.clock.round
        terms = self.terms(train, round_index, packing)
        outcome, down, up = yield from _driven(self.kind.coordinate(terms, tuple(requests), self.identities), train)
        if outcome.total is None:
            left_out = {name: outcome.left_out.get(name, outcome.reason or "") for name in requests}
            return Collected(total, left_out, {}, {}, down, up, reason=_why(outcome))
        clipped = packing.read(outcome.total, len(outcome.survivors), round_index, total)
        return Collected(total, outcome.left_out, {}, {}, down, up, clipped)

    def collect_evaluations(
        self, cohort: Sequence[ParticipantId], request: Evaluate, round_number: int
    ) -> Collector[CollectedEvaluation]:
        """Return the statistics' sum over all sites, without any site's own."""
        like = self.evaluated_like(request)
        contents = contents_of_evaluations(like, self.scale)
        terms = self.terms(request, round_number, contents)
        outcome, down, up = yield from _driven(self.kind.coordinate(terms, cohort, self.identities), request)
        left_out, union = dict(outcome.left_out), {}  # type: dict[ParticipantId, str], Sums
        if outcome.total is None:
            left_out = {name: left_out.get(name, outcome.reason or "") for name in cohort}
        else:
            union = read_evaluations(contents.read(outcome.total), like)
        return CollectedEvaluation(union, {}, left_out, down, up)

    def collect_counts(
        self, cohort: Sequence[ParticipantId], request: DryRound | CountPairs, size: int
    ) -> Collector[CollectedCounts]:
        """Return the sum of all participants' counts; without one, it is of nobody's."""
        contents = contents_of_counts(size, self.scale.participants)
        terms = self.terms(request, _number_of(request), contents)
        outcome, down, up = yield from _driven(self.kind.coordinate(terms, tuple(cohort), self.identities), request)
        if outcome.total is None:
            left_out = {name: outcome.left_out.get(name, outcome.reason or "") for name in cohort}
            return CollectedCounts(torch.zeros(size, dtype=torch.int64), 0, left_out, down, up)
        total = read_counts(contents.read(outcome.total))
        return CollectedCounts(total, len(outcome.survivors), outcome.left_out, down, up)


def _number_of(request: DryRound | CountPairs) -> int:
    """Return which of its sums a request for counts belongs to: there is one for each number of merges."""
    return len(request.merges) if isinstance(request, CountPairs) else 0


def _why(outcome: Outcome) -> str:
    """Return why there is no sum. A round that a crash interrupted is lost: who answered in it gives no second answer,
    for the difference of two sums over other survivors would be one participant's own.
    """
    before = sum(why == ANSWERED_BEFORE for why in outcome.left_out.values())
    if before == 0:
        return outcome.reason or "there is no sum"
    return (
        f"the round was interrupted after {before} participants had answered, and each answers once; it is lost, and "
        "the next one is played"
    )


def _the_same(requests: Mapping[ParticipantId, Train]) -> Train | None:
    """Return the one request that all are sent.

    Raises: ConfigError if they are sent different ones, for then they would not sign the same.
    """
    different = {id(request): request for request in requests.values()}
    if len(different) > 1:
        raise ConfigError(
            "under secure_sum everybody signs that it was sent the same, but this strategy sends some less than "
            "others; use another strategy, or secure_sum: none"
        )
    return next(iter(different.values()), None)


def _driven(coordinator: Summation, of: Summable) -> Generator[Requests | None, Received, tuple[Outcome, int, int]]:
    """Run the coordinator's side over the engine's exchanges; return what came of it, and the bytes down and up."""
    down, up, first = 0, 0, True
    messages = next(coordinator)
    work_bytes = payload_bytes(of)
    while True:
        requests = {name: SecureSumStep(message, of if first else None) for name, message in (messages or {}).items()}
        down += sum(len(request.message) + (work_bytes if first else 0) for request in requests.values())
        received = yield requests
        while received is not None:
            sender, reply = received
            if sender in requests:
                up += payload_bytes(reply)
                coordinator.send((sender, _answer_of(reply)))
            received = yield None
        first = False
        try:
            messages = coordinator.send(None)
        except StopIteration as finished:
            outcome: Outcome = finished.value
            return outcome, down, up


def _answer_of(reply: Reply) -> bytes | memoryview | SecureSumError:
    match reply:
        case SecureSumAnswer():
            return reply.message
        case Failure():
            return SecureSumError(reply.reason)
        case _:
            return SecureSumError(f"it answered a message of a secure sum with {type(reply).__name__}")


class SecureSide:
    """One participant's side over a whole run: at most one sum at a time, its secrets gone with the last answer.

    entropy: where keys come from; each sum has a stream of its own.
    refuse_answered: raises SecureSumError for the name of an answer that was given before; it spares the work for
        a sum that the member's memory would keep it out of.
    noise: where the noise of what this participant releases comes from; a new secret stream unless told.
    """

    def __init__(
        self,
        member: Member,
        sums: SecureSums,
        entropy: Callable[[], Entropy] = Entropy.secret,
        *,
        refuse_answered: Callable[[Collection[str]], object] = lambda names: None,
        noise: Entropy | None = None,
    ) -> None:
        self._member = member
        self._sums = sums
        self._entropy = entropy
        self._refuse_answered = refuse_answered
        self._noise = noise or Entropy.secret()
        self._participation: Participation | None = None

    def answer(self, step: SecureSumStep, work: Callable[[Summable], Reply]) -> Reply:
        """Return the answer to one message. work: does what the first message asks for, and returns the plain result.

        Raises: SecureSumError for a message that breaks the rules; ParticipantError for work that cannot be summed.
        """
        try:
            if step.of is None:
                if self._participation is None:
                    raise SecureSumError("a message came for a secure sum that this participant takes no part in")
                return SecureSumAnswer(self._participation.send(step.message))
            self._participation = None
            self._refuse_answered([answer_name(Terms.decode(step.message))])
            result = work(step.of)
            if isinstance(result, Failure):
                return result
            self._participation = self._begin(step, step.of, result)
            return SecureSumAnswer(next(self._participation))
        except StopIteration:
            self._participation = None
            raise SecureSumError("a message came for a secure sum that is over") from None
        except Exception:
            self._participation = None
            raise

    def _begin(self, step: SecureSumStep, of: Summable, result: Reply) -> Participation:
        sums = self._sums
        match of, result:
            case Train(), LocalUpdate():
                packing, round_index = sums.packing(*self._templates(of)), of.broadcast.clock.round
                if names := packing.answered_once(round_index):
                    self._member.record_once({f"{name} {sums.task!r} {sums.run!r}": b"" for name in names})
                draft = sums.kind.draft(packing.layout)
                packing.write(result, round_index, draft.vector, self._noise.once("update", round_index))
                terms = sums.terms(of, round_index, packing)
            case Evaluate(), Evaluation():
                like = sums.evaluated_like(of)
                contents = contents_of_evaluations(like, sums.scale)
                draft = sums.kind.draft(contents.layout)
                write_evaluation(result.sums, like, contents, draft.vector)
                terms = sums.terms(of, of.round, contents)  # its own: the coordinator could name any number
            case DryRound() | CountPairs(), Counts() if sums.pack is not None:
                raise ParticipantError("it adds noise to what it sends, and nobody adds any to counts")
            case DryRound() | CountPairs(), Counts():
                contents = contents_of_counts(len(result.values), sums.scale.participants)
                draft = sums.kind.draft(contents.layout)
                write_counts(result.values, contents, draft.vector)
                terms = sums.terms(of, _number_of(of), contents)
            case _:
                raise ParticipantError(f"its work for a secure sum came out as {type(result).__name__}")
        return sums.kind.take_part(self._member, terms, step.message, draft, self._entropy())

    def _templates(self, of: Train) -> tuple[Trees, Trees]:
        """Return names and shapes that the strategy declares for parameters like those that were sent."""
        params = of.broadcast.decoded().params
        algorithm = self._sums.algorithm
        return algorithm.templates(params, averaged=True), algorithm.templates(params, averaged=False)
