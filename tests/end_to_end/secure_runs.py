"""Runs of five participants under masks, each of whose records is hidden; and participants that are killed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from end_to_end.small_runs import small_run, write_sites
from foedus.config.assemble import Assembly, assemble
from foedus.config.loading import load_config
from foedus.config.private_run import begin_private_run
from foedus.federation.messages import ParticipantId, Reply, Request, SecureSumStep
from foedus.federation.protocols import Engine, ServerState
from foedus.federation.round import Federation
from foedus.federation.run_folder import RunFolder
from tiny_models import LABELS, Family, Head

SITES = ("east", "north", "shore", "south", "west")
RECORDS = {"kind": "records", "noise_multiplier": 1.0, "evaluation": "public"}
STEPS = 2


def secure_run(folder: Path, family: Family = "bert", head: Head = "classification", **sections: Any) -> dict[str, Any]:
    """Return the configuration of a run of two rounds under masks, with noise at each record's gradient."""
    given: dict[str, Any] = {
        "task": {"labels": list(LABELS)} if head == "classification" else {},
        "participants": {"train": str(write_sites(folder / "five", sites=SITES) / "*.csv")},
        "privacy": RECORDS,
        "local": {"steps": STEPS},
        "secure_sum": {"kind": "masks", "value_range": 1.0},
        "evaluation": {"per_site": False},
    }
    return small_run(folder, family, head, **given | sections)


@dataclass
class Killing:
    """An engine whose participants are dead from some exchange of a secure sum of updates on, counted from 0.

    from_exchange: by participant. Who is dead stays so in all later sums.
    """

    engine: Engine
    from_exchange: Mapping[ParticipantId, int]
    _exchanges: int = field(default=0, init=False)

    def population(self) -> Any:
        return self.engine.population()

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        alive = {name: one for name, one in requests.items() if self._exchanges < self.from_exchange.get(name, 1 << 30)}
        if all(isinstance(request, SecureSumStep) for request in requests.values()):
            self._exchanges += 1
        yield from self.engine.exchange(alive)

    def settle(self, counted: Collection[ParticipantId]) -> None:
        self.engine.settle(counted)

    def save_memories(self, folder: Path) -> None:
        self.engine.save_memories(folder)

    def load_memories(self, folder: Path) -> None:
        self.engine.load_memories(folder)


def assembled(config: Mapping[str, Any]) -> tuple[Assembly, Federation, ServerState]:
    """Return a configured run as it is before its first round, with its ledgers open."""
    assembly = assemble(load_config(config))
    folder = RunFolder(assembly.config.run_folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    private = None
    if assembly.plans is not None:
        private = begin_private_run(assembly.config, assembly.plans, assembly.data.sites, folder, assembly.key)
    federation = assembly.federation(private=private)
    return assembly, federation, assembly.initial_state(federation)


def killing(federation: Federation, from_exchange: Mapping[ParticipantId, int]) -> Federation:
    """Return the federation with participants that die."""
    return replace(federation, engine=Killing(federation.engine, from_exchange))
