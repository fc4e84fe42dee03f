"""A run that is killed with SIGKILL, at whatever moment, ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import foedus
from end_to_end.small_runs import records, small_run, untimed, weights
from foedus.core.errors import RunFolderError

pytestmark = pytest.mark.end_to_end

PROGRAM = [sys.executable, "-c", "from foedus.cli.main import main; main()"]
COHORT = {"cohort": {"kind": "fixed", "size": 2}}  # so that participants remember rounds of different times
SGD = {"optimizer": {"kind": "sgd"}, "learning_rate": 0.1}
JOBS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "kept-optimizer": ({"local": {"keep_optimizer": True}}, 20),
    "scaffold": ({"strategy": "scaffold", "local": SGD}, 7),
    "fedadam": ({"strategy": "fedadam", "model": {"tuning": "lora"}}, 7),
}


def test_a_run_that_is_killed_at_any_moment_ends_with_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    crashes = play_crashes(tmp_path)
    assert len(crashes) >= sum(count for _, count in JOBS.values())
    for crash in crashes:
        run = Path(crash["run"])
        whole = run.with_name(f"{crash['strategy']}-whole")
        assert weights(run) == weights(whole), crash
        assert untimed(run) == untimed(whole), crash
        assert lasting_figures(run) == lasting_figures(whole), crash
        assert files(run) == files(whole), crash
    require_crashes_everywhere([crash for crash in crashes if crash["strategy"] == "kept-optimizer"])


def play_crashes(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Play runs that are killed and gone on with, all in one process for the libraries' sake."""
    jobs = {
        name: {
            "config": small_run(folder, output={"checkpoints": 1}, rounds={"count": 3, **COHORT}, **sections),
            "crashes": count,
            "at": "report.html",
        }
        for name, (sections, count) in JOBS.items()
    }
    (folder / "jobs.json").write_text(json.dumps(jobs))
    program = [sys.executable, str(Path(__file__).with_name("crashing.py")), str(folder / "jobs.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def lasting_figures(run: Path) -> dict[str, Any]:
    summary = json.loads((run / "summary.json").read_text())
    kept = {name: value for name, value in summary.items() if name not in {"name", "seconds"}}
    return kept | {"tokens": summary["tokens"]["trained"]}


def files(run: Path) -> set[Path]:
    """Return all there is; but of the checkpoints that are whole only the newest, as an older one does no harm."""
    older = sorted((run / "checkpoints").glob("round-*"))[:-1]
    found = [path for path in run.rglob("*") if not any(path.is_relative_to(place) for place in older)]
    return {path.relative_to(run) for path in found}


def require_crashes_everywhere(crashes: Sequence[Mapping[str, Any]]) -> None:
    """Check that the moments lay in every stretch of the way: otherwise the test would promise too much."""
    assert not crashes[0]["begun"]
    assert any(crash["begun"] and not crash["checkpoints"] for crash in crashes)  # resumed from the very start
    assert {crash["records"] for crash in crashes} >= {0, 2, 3, 4}
    before = " ".join(crash["before"] for crash in crashes)
    for place in (".round-00001.part/", ".round-00003.part/", "os.remove", "report.html"):
        assert place in before
    # One of these had recorded a round for which there was no checkpoint yet.
    assert any(crash["checkpoints"] == [f"round-{crash['records'] - 2:05d}"] for crash in crashes)


def test_the_command_goes_on_with_a_run_that_was_killed_from_outside(tmp_path: Path) -> None:
    config = small_run(tmp_path, model={"tuning": "lora"}, local={"keep_optimizer": True}, rounds={"count": 20})
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(config | {"name": "killed"}))
    run = tmp_path / "runs" / "killed"
    # As many threads as here, because the order of additions depends on them; another hash seed, as nothing should.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONHASHSEED": "7"}
    with subprocess.Popen([*PROGRAM, "run", "killed.yaml", "--quiet"], cwd=tmp_path, env=environment) as process:
        wait_for_round(run, random.randint(1, 8))  # noqa: S311 - any will do
        process.send_signal(signal.SIGSTOP)  # or it may be over before what follows
        with pytest.raises(RunFolderError, match="in use by another run"):
            foedus.resume(run)
        with pytest.raises(RunFolderError, match="in use by another run"):
            foedus.run(config | {"name": "killed"}, overwrite=True)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(records(run)) <= 20, "the run was over before it was killed; give it more rounds"

    command = [*PROGRAM, "run", "--resume", str(run), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert 1 <= events[0]["first_round"] <= 20
    assert (events[0]["event"], events[-1]["event"]) == ("run_started", "run_ended")

    whole = foedus.run(config | {"name": "whole"}).folder
    assert weights(run) == weights(whole)
    assert untimed(run) == untimed(whole)
    assert adapter_settings(run) == adapter_settings(whole)


def wait_for_round(run: Path, number: int) -> None:
    deadline = time.monotonic() + 300
    while not (run / "rounds.jsonl").exists() or f'"round": {number},' not in (run / "rounds.jsonl").read_text():
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.01)


def adapter_settings(run: Path) -> str:
    """Return PEFT's file as it stands, but for the run's own folder."""
    return (run / "model" / "adapter_config.json").read_text().replace(str(run), "RUN")
