"""What disturbed runs left behind, held to what was promised of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from deployed.services import records
from end_to_end.small_runs import SITES
from foedus.api.run_queue import is_over
from foedus.config.loading import load_config
from foedus.core import trees
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger


def require_whole(run: Path) -> None:
    """Check that a run has all its rounds, once each and in order, says why each that was lost was, and has a model."""
    assert is_over(run), run
    assert not (run / "failed.json").exists(), (run / "failed.json").read_text()
    played = [record for record in records(run) if record["round"] > 0]
    assert [record["round"] for record in played] == list(range(1, load_config(run / "config.yaml").rounds.count + 1))
    for record in played:
        assert record["stood"] or record["reason"], record
        assert all(record["left_out"].values()), record
        assert record["reports"] == len(record["cohort"]) - len(record["left_out"]) or not record["stood"], record
    assert any(record["stood"] for record in played)
    assert trees.is_finite(load_file(run / "model" / "model.safetensors"))
    assert (run / "report.html").is_file()


def require_single_use(kits: Path) -> None:
    """Check that no mask can be taken off: in no sum are shares of both of a participant's secrets opened, by whomever.

    And nobody answered twice in a sum. What was opened stands in each one's own journal.
    """
    opened: dict[tuple[str, str], set[str]] = {}
    for name in SITES:
        for journal in (kits / name / "state" / "runs").glob("*/answered.jsonl"):
            entries = [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line[-1] == "\n"]
            names = [key for entry in entries for key in entry]
            assert len(names) == len(set(names)), journal
            for entry in entries:
                for key, kind in entry.items():
                    if key.startswith("share "):
                        _, roster, owner = key.split(" ")
                        opened.setdefault((roster, owner), set()).add(kind)
    assert opened
    assert all(len(kinds) == 1 for kinds in opened.values())


def require_paid_once(kits: Path, ledgers: Path, runs: Mapping[str, Path], trained: Mapping[str, int]) -> None:
    """Check each ledger against the bills that were told, and against how often trainings were begun.

    runs: the private ones, by id. trained: how often each organisation was asked to train in them.
    """
    for name in SITES:
        [account] = Ledger(participant_ledger(ledgers / name, name)).accounts()
        uses = {spending.run: spending.uses for spending in account.spendings}
        assert uses.keys() <= runs.keys()
        steps = {run: load_config(folder / "config.yaml").local.steps for run, folder in runs.items()}
        for run, count in uses.items():
            step = steps[run]
            assert step is not None
            assert count % step == 0
            reported = sum(name not in record["left_out"] for record in _played(runs[run]))
            assert count >= reported * step, f"{name} trained for more of {run} than it was charged for"
            if (bill := bill_of(kits / name, run)) is not None:
                assert sum(event["count"] for event in bill["events"]) == count
        begun = sum(count // (steps[run] or 1) for run, count in uses.items())
        assert begun <= trained[name], f"{name} was charged {begun} times, and asked to train {trained[name]} times"


def bill_of(kit: Path, run: str) -> dict[str, Any] | None:
    """Return the bill that an organisation keeps of a run, if it was told that the run is over."""
    found = list((kit / "state" / "runs" / run).rglob("*.bill.json"))
    return json.loads(found[0].read_text()) if found else None


def _played(run: Path) -> list[dict[str, Any]]:
    return [record for record in records(run) if record["round"] > 0 and record["stood"]]
