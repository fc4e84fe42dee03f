"""A participant's side: one request in, one reply out, and what it remembers.

The same code answers in the embedded engine and in deployment.
"""

from __future__ import annotations

from collections.abc import Callable

from foedus.core.errors import ParticipantError
from foedus.federation.alone import OwnArm, evaluate_all
from foedus.federation.magnitudes import places
from foedus.federation.messages import (
    CountPairs,
    Counts,
    DryRound,
    Evaluate,
    Evaluation,
    Reply,
    Request,
    SecureSumStep,
    Sums,
    Train,
    TrainAlone,
)
from foedus.federation.protocols import HidesRecords, LocalRule, LocalTask, Memory, PairCounter

Note = Callable[[Evaluate, Sums], None]


def answer(
    local: LocalRule,
    task: LocalTask | PairCounter,
    request: Request,
    memory: Memory,
    note: Note | None = None,
    *,
    arm: OwnArm | None = None,
) -> tuple[Reply, Memory]:
    """Return the reply to a request and the participant's memory after it.

    task: a PairCounter as long as the run has no tokenizer, then a LocalTask.
    note: is given the participant's own figures, whether they are sent or not.
    arm: what it trains alone, if it does.
    Raises: ParticipantError for a request that belongs to the other stage, and whatever the task raises.
    """
    if isinstance(request, CountPairs):
        if not isinstance(task, PairCounter):
            raise ParticipantError("it was asked to count pairs, but holds no texts to count in")
        return Counts(task.count_pairs(request.merges)), memory
    if isinstance(task, PairCounter):
        raise ParticipantError("it has no tokenizer yet, so it can only count pairs")
    match request:
        case Train():
            return local(task, request.broadcast.decoded(), memory)
        case Evaluate():
            sums = evaluate_all(task, arm, request) if request.compare else task.evaluate(request.params, request.split)
            if note is not None:
                note(request, sums)
            return Evaluation(sums if request.tell else {}), memory
        case TrainAlone():
            if arm is None:
                raise ParticipantError("it was asked to train alone, and does not in this run")
            arm.advance(request.clock)
            return Evaluation({}), memory  # all of it stays here
        case DryRound():
            if isinstance(task, HidesRecords) and task.hides_records:
                raise ParticipantError("it hides its records, and nobody counts what a dry round would tell of them")
            update, _ = local(task, request.broadcast.decoded(), memory)
            return Counts(places(update)), memory
        case SecureSumStep():
            raise ParticipantError("it was asked for a secure sum, and the engine did not take it to its keys")
