"""A participant's side: one request in, one reply out, and what it remembers.

The same code answers in the embedded engine and in deployment.
"""

from __future__ import annotations

from foedus.federation.messages import Evaluate, Evaluation, Reply, Request, Train
from foedus.federation.protocols import LocalRule, LocalTask, Memory


def answer(local: LocalRule, task: LocalTask, request: Request, memory: Memory) -> tuple[Reply, Memory]:
    """Return the reply to a request and the participant's memory after it."""
    match request:
        case Train():
            return local(task, request.broadcast.decoded(), memory)
        case Evaluate():
            return Evaluation(task.evaluate(request.params, request.split)), memory
