"""Organisations whose files have a budget, and runs between them that are private."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployed.loopback import Organisation, courier, organisations
from end_to_end.small_runs import SITES, small_run
from foedus.api.coordinate import Federated, coordinate, enqueue
from foedus.config.loading import load_config
from foedus.config.sections import ParticipantFile
from foedus.engines.link.courier import Patience
from foedus.federation.events import Event
from foedus.federation.run_folder import RunFolder
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger

LISTED: Mapping[str, Any] = {
    "task": {"labels": ["heart", "lung", "skin"]},
    "local": {"optimizer": {"kind": "sgd"}, "learning_rate": 0.1},
    "rounds": {"count": 2, "min_reports": 1},
}
RECORDS: Mapping[str, Any] = {"kind": "records", "epsilon": 8.0, "clip_norm": 1.0}
DISTRIBUTED: Mapping[str, Any] = {
    "kind": "participants",
    "noise_multiplier": 1.0,
    "clip": {"kind": "fixed", "norm": 1.0},
    "mechanism": {"kind": "distributed", "colluders": 0},
}
BUDGET: Mapping[str, Any] = {"epsilon": 9.0, "delta": 0.01}


class PrivateRun:
    """A run of three organisations. own: of each one's file, beside data and what it allows."""

    def __init__(
        self, folder: Path, config: dict[str, Any], own: Mapping[str, Mapping[str, Any]], **allow: Any
    ) -> None:
        data = {name: {"kind": "files", "train": str(folder / "sites" / f"{name}.csv")} for name in SITES}
        data |= {name: each["data"] for name, each in own.items() if "data" in each}
        models = [str(config["model"]["path"])]
        self.made, self.pins = organisations(folder, data, models=models, public_evaluation=True, **allow)
        self.logs: dict[str, list[str]] = {name: [] for name in SITES}
        for name, organisation in self.made.items():
            self._give(organisation, name, own[name])
        self.way, self.carrier = courier(self.made, Patience(lost=0.5, still=60, least=60))
        self.folder = RunFolder(folder / "deployed")
        self.told: list[tuple[str, str]] = []
        enqueue(load_config(config), self.folder)

    def _give(self, organisation: Organisation, name: str, own: Mapping[str, Any]) -> None:
        file = organisation.home.file
        values = {**file.model_dump(), **own}
        changed = ParticipantFile.model_validate(values).rooted(file.root)
        organisation.home = replace(organisation.home, file=changed, tell=self.logs[name].append)

    def play(self, observe: Callable[[Event], None] = lambda event: None) -> Any:
        def notice(name: str, what: str) -> None:
            self.told.append((name, what))

        def wait(missing: Collection[str]) -> None:
            raise AssertionError("it waits for who said no, or is there")

        federated = Federated(self.way, list(SITES), self.pins, notice, wait=wait)
        return coordinate(self.folder, federated, observe=observe)

    def uses(self, name: str) -> int:
        """Return how many rounds, redone ones too, an organisation was charged for."""
        place = participant_ledger(Path(str(self.made[name].home.file.ledgers)), name)
        [account] = Ledger(place).accounts()
        return sum(spending.uses for spending in account.spendings)


def budgeted(folder: Path, **changes: Any) -> dict[str, dict[str, Any]]:
    """Return what each organisation's file says of its privacy."""
    return {name: {"budget": {**BUDGET, **changes}, "ledgers": str(folder / "ledgers" / name)} for name in SITES}


def public_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """Return files of organisations that hold public data: noise may be reproducible."""
    of = {"kind": "files", "train": str(folder / "sites" / "*.csv")}
    return {name: {"data": {"kind": "part", "of": of}, "ledgers": str(folder / "ledgers" / name)} for name in SITES}


def private_config(folder: Path, **sections: Any) -> dict[str, Any]:
    """Return the configuration of a small private run; its model and data lie in the folder."""
    merged = {**LISTED, **sections}
    return small_run(folder, **merged)
