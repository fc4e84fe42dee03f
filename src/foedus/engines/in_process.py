"""The embedded engine: every participant in this process, one after the other, in a fixed order."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from foedus.core import trees
from foedus.core.errors import FoedusError, ParticipantError, RunFolderError
from foedus.federation.checkpoints import load_trees, save_trees, sync
from foedus.federation.messages import Failure, LocalUpdate, ParticipantId, Reply, Request, SecureSumStep, Train
from foedus.federation.own_reports import OwnReports
from foedus.federation.participant import Note, answer
from foedus.federation.protocols import LocalRule, LocalTask, Memory, PairCounter, SecureAnswers
from foedus.privacy.outbox import Outbox
from foedus.privacy.signing.digests import request_digest

INDEX = "participants.json"


class InProcessEngine:
    """Participants that share this process and one copy of the model.

    The order of replies is the population's, so equal seeds give equal bytes.
    device: where what they remember is kept; the CPU unless told.
    reraise: raise a participant's unexpected error here instead of leaving it out, for debugging.
    outbox: where participants keep their finished replies, so that a round which is redone releases none twice.
    secure: the participants' sides of secure sums; none is answered without one.
    """

    def __init__(
        self,
        local: LocalRule,
        tasks: Mapping[ParticipantId, LocalTask | PairCounter],
        *,
        device: torch.device | None = None,
        reraise: bool = False,
        outbox: Outbox | None = None,
        own_reports: OwnReports | None = None,
        secure: Mapping[ParticipantId, SecureAnswers] | None = None,
    ) -> None:
        self._local = local
        self._tasks = dict(tasks)
        self._memories: dict[ParticipantId, Memory] = {}
        self._unsettled: dict[ParticipantId, Memory] = {}
        self._device = device
        self._reraise = reraise
        self._outbox = outbox
        self._own_reports = own_reports
        self._secure = secure or {}
        self._digests: dict[int, str] = {}

    def population(self) -> Sequence[ParticipantId]:
        """Return every participant, in the order given."""
        return tuple(self._tasks)

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Let the asked participants work one by one; what one raises becomes its Failure."""
        self._digests = {}
        for name, task in self._tasks.items():
            if name in requests:
                yield name, self._answer(name, task, requests[name])

    def _answer(self, name: ParticipantId, task: LocalTask | PairCounter, request: Request) -> Reply:
        before = self._memories.get(name, {})
        try:
            if isinstance(request, SecureSumStep):
                return self._answer_securely(name, task, request)
            if self._outbox is not None and isinstance(request, Train):
                reply, memory = self._answer_once(self._outbox, name, task, request, before)
            else:
                reply, memory = answer(self._local, task, request, before, self._note(name))
            if memory is not before:
                _check_memory(memory)
                self._unsettled[name] = memory
        except Exception as error:  # whatever a participant raises costs its own update only
            if self._reraise:
                raise
            return Failure(failure_reason(error))
        return reply

    def _note(self, name: ParticipantId) -> Note | None:
        """Return what writes down a participant's own figures, if it keeps them."""
        reports = self._own_reports
        return None if reports is None else lambda request, sums: reports.add(name, request, sums)

    def _answer_securely(self, name: ParticipantId, task: LocalTask | PairCounter, request: SecureSumStep) -> Reply:
        if name not in self._secure:
            raise ParticipantError("it was asked for a secure sum, but has no keys for one")
        return self._secure[name].answer(request, lambda work: self._answer(name, task, work))

    def _answer_once(
        self, outbox: Outbox, name: ParticipantId, task: LocalTask | PairCounter, request: Train, before: Memory
    ) -> tuple[Reply, Memory]:
        """Train and keep the reply before it is sent, or return the one that was kept before a crash."""
        number, digest = request.broadcast.clock.round + 1, self._digest(request)
        if (kept := outbox.get(name, number, digest, self._device)) is not None:
            return kept
        reply, memory = answer(self._local, task, request, before)
        if isinstance(reply, LocalUpdate):
            outbox.put(name, number, digest, reply, memory)
        return reply, memory

    def _digest(self, request: Train) -> str:
        """Return the digest of a request, computed once for all who are sent it."""
        if id(request) not in self._digests:
            self._digests[id(request)] = request_digest(request).hex()
        return self._digests[id(request)]

    def settle(self, counted: Collection[ParticipantId]) -> None:
        """Keep the new memories of those who counted and forget the others'."""
        self._memories |= {name: memory for name, memory in self._unsettled.items() if name in counted}
        self._unsettled = {}

    def save_memories(self, folder: Path) -> None:
        """Write one safetensors file per participant that remembers something, and a list of them.

        Participants' names may hold what a file's name may not, so files are counted.
        """
        names = [name for name, memory in self._memories.items() if memory]
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            save_trees(folder / f"{number:05d}.safetensors", self._memories[name])
        (folder / INDEX).write_text(json.dumps(names))
        sync(folder / INDEX)
        sync(folder)

    def load_memories(self, folder: Path) -> None:
        """Read what save_memories wrote.

        Raises: RunFolderError if a file is missing or damaged.
        """
        try:
            names = json.loads((folder / INDEX).read_text())
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{folder / INDEX} cannot be read; it is missing or damaged") from error
        self._unsettled = {}
        self._memories = {
            name: load_trees(folder / f"{number:05d}.safetensors", self._device) for number, name in enumerate(names)
        }


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
