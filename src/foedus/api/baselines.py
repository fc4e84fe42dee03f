"""What a run that compares came to: the model trained together beside what it started from and each one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from foedus.config.own_comparison import COMPARISON, comparison_table
from foedus.config.side import Side
from foedus.federation.alone import ALONE, FEDERATED, START
from foedus.federation.run_folder import Record, RunFolder


def write_baselines(side: Side, folder: RunFolder, records: Sequence[Record], data_note: str | None) -> None:
    """Write comparison.json into the folder of a run whose last evaluation compares; of others, nothing."""
    if (arms := compared_arms(records, side.task.headline)) is not None:
        table = comparison_table(side.config, side.task, arms, data_note=data_note)
        folder.write(folder.path / COMPARISON, json.dumps(table, indent=2))


def compared_arms(records: Sequence[Record], headline: str) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the figures of each model from a run's records; None if its last evaluation compared nothing."""
    evaluated = [record for record in records if record.get("evaluation")]
    last = evaluated[-1]["evaluation"] if evaluated else {}
    if not (last.get("all") and ALONE in last):
        return None
    played = [record for record in records if record["round"] > 0]
    curve = [[0, last[START]["all"].get(headline)]]
    curve += [[record["round"], record["evaluation"]["all"].get(headline)] for record in evaluated]
    return {
        START: last[START],
        ALONE: {**last[ALONE], "seconds": _seconds(played, "alone")},
        FEDERATED: {
            "all": last["all"],
            **({"sites": last["sites"]} if "sites" in last else {}),
            "curve": curve,
            "seconds": _seconds(played, "train"),
            "bytes": sum(record["bytes"]["up"] + record["bytes"]["down"] for record in played),
        },
    }


def _seconds(played: Sequence[Record], phase: str) -> float:
    return round(sum(float(record["seconds"].get(phase, 0.0)) for record in played), 3)
