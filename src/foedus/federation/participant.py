"""A participant's side: one request in, one reply out, and what it remembers.

The same code answers in the embedded engine and in deployment.
"""

from __future__ import annotations

from foedus.core.errors import ParticipantError
from foedus.federation.messages import CountPairs, Counts, Evaluate, Evaluation, Reply, Request, SecureSumStep, Train
from foedus.federation.protocols import LocalRule, LocalTask, Memory, PairCounter


def answer(local: LocalRule, task: LocalTask | PairCounter, request: Request, memory: Memory) -> tuple[Reply, Memory]:
    """Return the reply to a request and the participant's memory after it.

    task: a PairCounter as long as the run has no tokenizer, then a LocalTask.
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
            return Evaluation(task.evaluate(request.params, request.split)), memory
        case SecureSumStep():
            raise ParticipantError("it was asked for a secure sum, and the engine did not take it to its keys")
