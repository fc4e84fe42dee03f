"""The embedded engine: every participant in this process, one after the other, in a fixed order."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from foedus.core import trees
from foedus.core.errors import FoedusError, ParticipantError
from foedus.federation.checkpoints import load_trees, save_trees
from foedus.federation.messages import Failure, ParticipantId, Reply, Request
from foedus.federation.participant import answer
from foedus.federation.protocols import LocalRule, LocalTask, Memory


class InProcessEngine:
    """Participants that share this process and one copy of the model.

    device: where what they remember is kept; the CPU unless told. The order of replies is the population's, so equal seeds give equal bytes.
    reraise: raise a participant's unexpected error here instead of leaving it out, for debugging.
    """

    def __init__(
        self,
        local: LocalRule,
        tasks: Mapping[ParticipantId, LocalTask],
        *,
        device: torch.device | None = None,
        reraise: bool = False,
    ) -> None:
        self._local = local
        self._tasks = dict(tasks)
        self._memories: dict[ParticipantId, Memory] = {}
        self._device = device
        self._reraise = reraise

    def population(self) -> Sequence[ParticipantId]:
        """Return every participant, in the order given."""
        return tuple(self._tasks)

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Let the asked participants work one by one; what one raises becomes its Failure."""
        for name, task in self._tasks.items():
            if name in requests:
                yield name, self._answer(name, task, requests[name])

    def _answer(self, name: ParticipantId, task: LocalTask, request: Request) -> Reply:
        try:
            reply, memory = answer(self._local, task, request, self._memories.get(name, {}))
            if broken := [key for key, tree in memory.items() if not trees.is_finite(tree)]:
                raise ParticipantError(f"what it would remember as {broken[0]} holds NaN or infinite values")
        except Exception as error:  # whatever a participant raises costs its own update only
            if self._reraise:
                raise
            return Failure(failure_reason(error))
        if memory:
            self._memories[name] = memory
        return reply

    def save_memories(self, folder: Path) -> None:
        """Write one safetensors file per participant that remembers something."""
        for name, memory in self._memories.items():
            save_trees(folder / f"{name}.safetensors", memory)

    def load_memories(self, folder: Path) -> None:
        """Read what save_memories wrote."""
        files = sorted(folder.glob("*.safetensors")) if folder.exists() else []
        self._memories = {path.name.removesuffix(".safetensors"): load_trees(path, self._device) for path in files}


def failure_reason(error: Exception) -> str:
    """Return why a participant failed, without anything that its data may have put into the message.

    Our own errors are written to be shown. Of any other the type and the place are.
    """
    if isinstance(error, FoedusError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"raised {type(error).__name__}{place} (run with --debug to see it)"
