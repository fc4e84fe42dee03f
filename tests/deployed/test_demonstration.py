"""make demo-federation, with less to learn: provisioned kits, FLARE over mTLS, and a process for each side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import foedus
from docs.reading_docs import ROOT

FOLDER = ROOT / "examples" / "federation"
QUICK = ["rounds.count=1", "local.epochs=null", "local.steps=2"]


def _left(folder: Path) -> list[str]:
    """Return the command lines of processes that have to do with a folder."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and process.name != str(os.getpid()):
            lines.append(line)
    return lines


@pytest.mark.end_to_end
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked for in /proc")
def test_the_demonstration_ends_where_the_embedded_run_does_and_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = [word for setting in QUICK for word in ("--set", setting)]
    command = [sys.executable, str(FOLDER / "demo.py"), "--folder", str(tmp_path / "demo"), *settings]
    made = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "stopped everything" in made.stdout
    run = tmp_path / "demo" / "kits" / "coordinator" / "runs" / "clinics-federation"
    assert (run / "model").is_dir()
    state = json.loads((run / "state.json").read_text())
    assert {name: set(member["counts"]) for name, member in state["members"].items()} == {
        name: {"train_rows"} for name in ("cardiology", "orthopaedics", "maternity")
    }
    embedded = foedus.run(FOLDER / "clinics.yaml", overrides=[*QUICK, f"output.folder={tmp_path / 'runs'}"])
    deployed = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    for here, there in zip(embedded.rounds, deployed, strict=True):
        assert there["evaluation"]["all"]["loss"] == pytest.approx(here["evaluation"]["all"]["loss"], rel=1e-3)
        assert there.get("weight") == here.get("weight")
    subprocess.run(["sleep", "5"], check=True)  # FLARE's own processes see within a second that their starter is gone
    assert _left(tmp_path / "demo") == []
