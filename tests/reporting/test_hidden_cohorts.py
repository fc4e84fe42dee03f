"""Runs whose records tell nothing of who took part."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from foedus.federation.events import RoundEnded, RoundStarted, RunStarted
from foedus.reporting.model_card import model_card
from foedus.reporting.progress import plain, status
from foedus.reporting.records import read_rounds, read_run
from foedus.reporting.report import write_report
from foedus.reporting.watching import Watch, watch
from reporting.made_runs import make_run

KEPT = {"round", "stood", "reason", "learning_rate", "evaluation"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run folder as a run with hidden cohorts leaves it."""
    folder = make_run(tmp_path / "run")
    path = folder / "rounds.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    hidden = [
        {**{key: value for key, value in record.items() if key in KEPT}, "cohort_hidden": record["round"] > 0}
        for record in records
    ]
    hidden[-1] |= {"stood": False, "reason": "the step led to NaN or infinite parameters"}
    path.write_text("".join(json.dumps(record) + "\n" for record in hidden))
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"bytes": {"evaluation": 12}, "seconds": {"start": 1.0}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_the_report_says_that_the_cohort_is_hidden_and_not_that_it_was_empty(run: Path) -> None:
    assert all(record.cohort_hidden for record in read_rounds(run) if record.round > 0)
    text = write_report(run).read_text()
    assert "<td>hidden</td>" in text.replace(' class="text"', "").replace("\n", "")
    assert "0 of 0" not in text


def test_progress_names_no_number_of_sites(run: Path) -> None:
    stream = io.StringIO()
    observe = plain(stream)
    observe(RunStarted("r", ("a", "b"), 5, 1, "accuracy", True, 1, "cpu"))
    observe(RoundStarted(1, ()))
    for line in (run / "rounds.jsonl").read_text().splitlines()[1:2]:
        observe(RoundEnded(json.loads(line)))
    assert "round 1 of 5" in stream.getvalue()
    assert "0 of 0" not in stream.getvalue()

    state: Watch | None = watch(None, RunStarted("r", ("a", "b"), 5, 1, "accuracy", True, 1, "cpu"), 0.0)
    state = watch(state, RoundStarted(1, ()), 1.0)
    assert state is not None
    console = Console(file=io.StringIO(), width=110)
    with console.capture() as capture:
        console.print(status(state, 20.0, 110))
    assert "training" in capture.get()
    assert "0 of 0" not in capture.get()


def test_the_model_card_tells_no_bytes_that_it_does_not_know(run: Path) -> None:
    text = model_card(read_run(run))
    assert "unknown from the sites, unknown to them" in text
