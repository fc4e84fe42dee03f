"""A run under masks that is killed with SIGKILL goes on: the interrupted round is lost, and nobody answers twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from end_to_end.secure_runs import SITES, STEPS, secure_run
from end_to_end.small_runs import records
from foedus import privacy_ledger

pytestmark = pytest.mark.end_to_end

ROUNDS, CRASHES = 3, 8


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Mapping[str, Any]]:
    """Return what became of a run that was killed at moments spread over its whole length, and gone on with."""
    folder = tmp_path_factory.mktemp("secure-crashes")
    config = secure_run(folder, rounds={"count": ROUNDS})
    (folder / "jobs.json").write_text(json.dumps({"masked": {"config": config, "crashes": CRASHES}}))
    program = [sys.executable, str(Path(__file__).with_name("crashing.py")), str(folder / "jobs.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FOEDUS_LEDGERS": str(folder / "ledgers")}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [{**json.loads(line), "ledgers": folder / "ledgers"} for line in done.stdout.splitlines()]


def test_it_goes_on_with_the_next_round_and_records_the_lost_one(crashes: Sequence[Mapping[str, Any]]) -> None:
    assert len(crashes) == CRASHES
    interrupted = 0
    for crash in crashes:
        played = records(Path(crash["run"]))
        assert [record["round"] for record in played] == list(range(ROUNDS + 1)), crash
        lost = [record for record in played[1:] if not record["stood"]]
        assert len(lost) <= 1, crash
        assert all("interrupted after" in record["reason"] for record in lost), crash
        assert (Path(crash["run"]) / "report.html").exists()
        interrupted += len(lost)
    assert interrupted > 1, "too few of the moments lay in a round to show anything"


def test_no_participant_answers_in_a_round_twice(crashes: Sequence[Mapping[str, Any]]) -> None:
    for crash in crashes:
        journals = sorted((Path(crash["run"]) / "secure_sums").glob("*.jsonl"))
        assert len(journals) == len(SITES)
        for journal in journals:
            names = [name for line in journal.read_text().splitlines() for name in json.loads(line)]
            assert len(names) == len(set(names))
            answered = [name for name in names if name.startswith("answer ") and name.endswith(" 'update'")]
            assert len(answered) == ROUNDS


def test_a_crash_costs_no_more_than_the_round_that_it_interrupted(crashes: Sequence[Mapping[str, Any]]) -> None:
    spent = {row["owner"]: [run["uses"] for run in row["runs"]] for row in privacy_ledger(folder=crashes[0]["ledgers"])}
    assert set(spent) == set(SITES)
    for uses in spent.values():
        assert min(uses) == ROUNDS * STEPS
        assert max(uses) <= (ROUNDS + 1) * STEPS  # its steps were drawn, and their result lost before it was written
