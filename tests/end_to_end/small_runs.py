"""Runs that take a second: three participants with CSV files of their own, and tiny models of every family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiny_models import ENCODERS, LABELS, Family, Head, tiny_folder

SITES = ("north", "south", "west")
ROWS = 20  # of each site, 4 of them for testing
_SAYINGS = {"heart": "pain in the chest", "lung": "the left lung", "skin": "right skin"}

TASKS: Mapping[Head, Mapping[str, Any]] = {
    "classification": {"kind": "text_classification", "text": "note", "label": "organ", "max_length": 24},
    "causal_lm": {"kind": "causal_lm", "text": "note", "max_length": 24},
    "masked_lm": {"kind": "masked_lm", "text": "note", "max_length": 24},
    "sequence_to_sequence": {
        "kind": "sequence_to_sequence",
        "source": "note",
        "target": "organ",
        "max_length": 24,
        "max_target_length": 8,
    },
}


def small_run(folder: Path, family: Family = "bert", head: Head = "classification", **sections: Any) -> dict[str, Any]:
    """Return the configuration of a run of two rounds, and write its model and data into the folder.

    sections: put over those of the same name, key by key.
    """
    # Classifiers start from a checkpoint without a head, as in practice. What a fresh encoder makes of a text hardly
    # depends on it, and two rounds would teach it nothing; larger random weights change that.
    options: dict[str, Any] = {"initializer_range": 0.2} if family in ENCODERS else {}
    checkpoint = tiny_folder(family, folder, "none" if head == "classification" else head, **options)
    config: dict[str, Any] = {
        "name": "small",
        "task": TASKS[head],
        "model": {"path": str(checkpoint)},
        "participants": {"train": str(write_sites(folder / "sites") / "*.csv")},
        "local": {"batch_size": 4, "learning_rate": 1e-2},
        "rounds": {"count": 2},
        "device": "cpu",
        "output": {"folder": str(folder / "runs")},
    }
    for name, given in sections.items():
        present = config.get(name)
        config[name] = {**present, **given} if isinstance(present, dict) and isinstance(given, dict) else given
    return config


def write_sites(folder: Path, rows: int = ROWS, sites: Sequence[str] = SITES) -> Path:
    """Write a CSV file for each participant, with a mix of classes of its own; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, site in enumerate(sites):
        organs = [LABELS[(place if row % 2 else row // 2) % 3] for row in range(rows)]
        lines = [f"{_SAYINGS[organ]} {site[0]}{row % 7},{organ},{row}" for row, organ in enumerate(organs)]
        (folder / f"{site}.csv").write_text("\n".join(["note,organ,case", *lines, ""]))
    return folder


def weights(run: Path) -> dict[str, bytes]:
    """Return the bytes of the run's weight files, by name; there is one at least."""
    found = {path.name: path.read_bytes() for path in sorted((run / "model").glob("*.safetensors"))}
    assert found
    return found


def records(run: Path) -> list[dict[str, Any]]:
    """Return the lines of rounds.jsonl."""
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]


def untimed(run: Path) -> list[dict[str, Any]]:
    """Return the run's records without the times that were taken."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records(run)]


def losses(run: Path) -> list[float]:
    """Return the loss over all sites' held-out rows at each evaluation, the first before training."""
    return [record["evaluation"]["all"]["loss"] for record in records(run) if record["evaluation"]]
