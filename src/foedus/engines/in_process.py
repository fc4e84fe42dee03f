"""The embedded engine: every participant in this process, one after the other, in a fixed order."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from foedus.core.durable import sync
from foedus.core.errors import RunFolderError
from foedus.engines.site import Site
from foedus.federation.alone import OwnArm
from foedus.federation.checkpoints import load_trees, save_trees
from foedus.federation.messages import ParticipantId, Reply, Request, Train
from foedus.federation.own_reports import OwnReports
from foedus.federation.protocols import LocalRule, LocalTask, Memory, PairCounter, SecureAnswers
from foedus.privacy.outbox import Outbox
from foedus.privacy.signing.digests import request_digest

INDEX = "participants.json"


class InProcessEngine:
    """Participants that share this process and one copy of the model.

    The order of replies is the population's, so equal seeds give equal bytes.
    The options are those of each `Site`. secure: the participants' sides of secure sums. arms: what they train alone.
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
        arms: Mapping[ParticipantId, OwnArm] | None = None,
    ) -> None:
        self._device = device
        self._digests: dict[int, str] = {}
        self._sites = {
            name: Site(
                name,
                local,
                task,
                device=device,
                reraise=reraise,
                outbox=outbox,
                own_reports=own_reports,
                secure=(secure or {}).get(name),
                arm=(arms or {}).get(name),
                digest=self._digest,
            )
            for name, task in tasks.items()
        }

    def population(self) -> Sequence[ParticipantId]:
        """Return every participant, in the order given."""
        return tuple(self._sites)

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Let the asked participants work one by one; what one raises becomes its Failure."""
        self._digests = {}
        for name, site in self._sites.items():
            if name in requests:
                yield name, site.answer(requests[name])

    def _digest(self, request: Train) -> str:
        """Return the digest of a request, computed once for all who are sent it."""
        if id(request) not in self._digests:
            self._digests[id(request)] = request_digest(request).hex()
        return self._digests[id(request)]

    def settle(self, counted: Collection[ParticipantId]) -> None:
        """Keep the new memories of those who counted and forget the others'."""
        for name, site in self._sites.items():
            site.settle(counted=name in counted)

    def memories(self) -> Mapping[ParticipantId, Memory]:
        """Return what those remember who remember something."""
        return {name: site.memory for name, site in self._sites.items() if site.memory}

    def recall(self, memories: Mapping[ParticipantId, Memory]) -> None:
        """Make the participants remember this, and nothing else."""
        for name, site in self._sites.items():
            site.recall(memories.get(name, {}))

    def save_memories(self, folder: Path) -> None:
        """Write one safetensors file per participant that remembers something, and a list of them.

        Participants' names may hold what a file's name may not, so files are counted.
        """
        memories = self.memories()
        folder.mkdir(parents=True, exist_ok=True)
        for number, memory in enumerate(memories.values()):
            save_trees(folder / f"{number:05d}.safetensors", memory)
        (folder / INDEX).write_text(json.dumps(list(memories)))
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
        self.recall(
            {name: load_trees(folder / f"{number:05d}.safetensors", self._device) for number, name in enumerate(names)}
        )
