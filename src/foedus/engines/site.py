"""One participant as an engine keeps it: it answers requests, and remembers what counted."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import torch

from foedus.core import trees
from foedus.core.errors import FoedusError, ParticipantError
from foedus.federation.alone import OwnArm
from foedus.federation.messages import (
    Evaluate,
    Failure,
    LocalUpdate,
    ParticipantId,
    Reply,
    Request,
    SecureSumStep,
    Train,
    TrainAlone,
)
from foedus.federation.own_reports import OwnReports
from foedus.federation.participant import Note, answer
from foedus.federation.protocols import LocalRule, LocalTask, Memory, PairCounter, SecureAnswers
from foedus.privacy.outbox import Outbox
from foedus.privacy.signing.digests import request_digest


class Site:
    """A participant's task, what it remembers, and what guards what it sends.

    device: where what it remembers is kept; the CPU unless told.
    reraise: raise its unexpected error instead of answering with a Failure, for debugging.
    outbox: where it keeps its finished replies, so that a round which is redone releases none twice.
    secure: its side of secure sums; it answers none without one.
    charge: is called before it trains for a request, unless it has finished a reply to it; raises to keep it from that.
    arm: what it trains alone beside the run, if it does.
    digest: of a training request; several participants of one process are sent the same.
    """

    def __init__(
        self,
        name: ParticipantId,
        local: LocalRule,
        task: LocalTask | PairCounter,
        *,
        device: torch.device | None = None,
        reraise: bool = False,
        outbox: Outbox | None = None,
        own_reports: OwnReports | None = None,
        secure: SecureAnswers | None = None,
        arm: OwnArm | None = None,
        digest: Callable[[Train], str] = lambda request: request_digest(request).hex(),
        charge: Callable[[Train], None] = lambda request: None,
    ) -> None:
        self.name = name
        self.memory: Memory = {}
        self._local = local
        self._task = task
        self._unsettled: Memory | None = None
        self._device = device
        self._reraise = reraise
        self._outbox = outbox
        self._own_reports = own_reports
        self._secure = secure
        self._arm = arm
        self._digest = digest
        self._charge = charge

    def answer(self, request: Request) -> Reply:
        """Return the reply; what goes wrong becomes a Failure. What training leaves to remember waits for `settle`.

        With a side of secure sums nothing of its own leaves in the clear, whatever it is asked.
        """
        if self._secure is not None and _tells_in_the_clear(request):
            return Failure("it was asked for figures of its own in the clear, and sends them to secure sums alone")
        return self._answer(request)

    def _answer(self, request: Request) -> Reply:
        before = self.memory
        try:
            if isinstance(request, SecureSumStep):
                return self._answer_securely(request)
            if self._outbox is not None and isinstance(request, Train):
                reply, memory = self._answer_once(self._outbox, request, before)
            else:
                if isinstance(request, Train):
                    self._charge(request)
                reply, memory = answer(self._local, self._task, request, before, self._note(), arm=self._arm)
            if memory is not before:
                _check_memory(memory)
                self._unsettled = memory
        except Exception as error:  # whatever a participant raises costs its own update only
            if self._reraise:
                raise
            return Failure(failure_reason(error))
        return reply

    @property
    def unsettled(self) -> Memory | None:
        """What the last training left to remember, until it is settled whether that counted."""
        return self._unsettled

    def settle(self, *, counted: bool, left: Memory | None = None) -> None:
        """Remember what the last training left if it counted, and forget it otherwise.

        left: what that was, if it was done by a process before this one.
        """
        found = left if self._unsettled is None else self._unsettled
        if counted and found is not None:
            self.memory = found
        self._unsettled = None

    def recall(self, memory: Memory) -> None:
        """Remember this, and nothing of any training since."""
        self.memory, self._unsettled = memory, None

    def _note(self) -> Note | None:
        """Return what writes down its own figures, if it keeps them."""
        reports = self._own_reports
        return None if reports is None else lambda request, sums: reports.add(self.name, request, sums)

    def _answer_securely(self, request: SecureSumStep) -> Reply:
        if self._secure is None:
            raise ParticipantError("it was asked for a secure sum, but has no keys for one")
        return self._secure.answer(request, self._answer)

    def _answer_once(self, outbox: Outbox, request: Train, before: Memory) -> tuple[Reply, Memory]:
        """Train and keep the reply before it is sent, or return the one that was kept before a crash."""
        number, digest = request.broadcast.clock.round + 1, self._digest(request)
        if (kept := outbox.get(self.name, number, digest, self._device)) is not None:
            return kept
        self._charge(request)
        reply, memory = answer(self._local, self._task, request, before)
        if isinstance(reply, LocalUpdate):
            outbox.put(self.name, number, digest, reply, memory)
        return reply, memory


def _tells_in_the_clear(request: Request) -> bool:
    """Return whether the reply would be the participant's own figures; an evaluation may be its own affair."""
    match request:
        case SecureSumStep() | TrainAlone():
            return False
        case Evaluate():
            return request.tell
        case _:
            return True


def _check_memory(memory: Memory) -> None:
    if broken := [name for name, tree in memory.items() if not trees.is_finite(tree)]:
        raise ParticipantError(f"what it would remember as {broken[0]} holds NaN or infinite values")


def failure_reason(error: Exception) -> str:
    """Return why a participant failed, without anything that its data may have put into the message.

    Our own errors are written to be shown. Of any other the type and the place are.
    """
    if isinstance(error, FoedusError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"raised {type(error).__name__}{place} (run with --debug to see it)"
