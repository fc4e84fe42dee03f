"""A federation as organisations start it: kits, mTLS on loopback, each side a process of its own, masks by default."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import foedus
from end_to_end.small_runs import SITES, small_run

FOEDUS = [sys.executable, "-c", "from foedus.cli.main import main; main()"]
PATIENCE_S = 600  # a busy machine takes a minute to import what a trainer needs


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port: int = listener.getsockname()[1]
        return port


def command(*arguments: str | Path) -> str:
    done = subprocess.run([*FOEDUS, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(log: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a command running in the background; end it as a service manager does."""
    with log.open("ab") as output:
        process = subprocess.Popen([*FOEDUS, *map(str, arguments)], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(reached: Callable[[], bool], what: str, logs: Path) -> None:
    began = time.monotonic()
    while not reached():
        if time.monotonic() - began > PATIENCE_S:
            told = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs.glob("*.log"))
            pytest.fail(f"{what} was not reached in {PATIENCE_S} s\n{told}")
        time.sleep(0.2)


def rounds(run: Path) -> list[dict[str, Any]]:
    records = run / "rounds.jsonl"
    if not records.exists():
        return []
    return [json.loads(line) for line in records.read_text().splitlines(keepends=True) if line.endswith("\n")]


def federation(folder: Path, config: dict[str, Any]) -> Path:
    """Provision kits for the sites of a small run, whose files allow it."""
    (folder / "federation.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "league",
                "coordinator": {"host": "localhost", "port": free_port(), "researchers_port": free_port()},
                "organisations": list(SITES),
                "researchers": ["ada"],
            }
        )
    )
    command("provision", folder / "federation.yaml", "--folder", folder / "kits")
    for name in SITES:
        own = {
            "data": {"train": str(folder / "sites" / f"{name}.csv")},
            "allow": {"runs": ["small"], "models": [config["model"]["path"]], "tell_labels": True},
            "device": "cpu",
        }
        (folder / "kits" / name / "participant.yaml").write_text(yaml.safe_dump(own))
    return folder / "kits"


def processes_of(folder: Path) -> list[int]:
    """Return the processes that were started for what lies in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in place.read_bytes() and int(place.parent.name) != os.getpid():
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.end_to_end
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes that are left")
def test_a_federation_trains_what_one_machine_trains_though_its_coordinator_is_killed_and_a_researcher_fetches_it(
    tmp_path: Path,
) -> None:
    sections: dict[str, Any] = {
        "local": {"optimizer": {"kind": "sgd"}, "learning_rate": 0.1},
        "evaluation": {"per_site": False},
        "rounds": {"count": 3},
    }
    config = small_run(tmp_path, **sections)
    kits = federation(tmp_path, config)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    command("submit", tmp_path / "small.yaml", "--federation", kits / "coordinator")
    run = kits / "coordinator" / "runs" / "small"
    assert yaml.safe_load((run / "config.yaml").read_text())["secure_sum"]["kind"] == "masks"

    from contextlib import ExitStack

    log = tmp_path / "coordinator.log"
    with ExitStack() as stack:
        for name in SITES:
            stack.enter_context(running(tmp_path / f"{name}.log", "participant", kits / name))
        with running(log, "coordinator", kits / "coordinator", "--once", "--json") as first:
            until(lambda: "researchers reach it" in log.read_text(), "a desk", tmp_path)
            assert json.loads(command("status", kits / "ada", "--json"))["run"] == "small"
            until(lambda: any(record["round"] == 1 for record in rounds(run)), "round 1", tmp_path)
            os.kill(first.pid, signal.SIGKILL)
        with running(log, "coordinator", kits / "coordinator", "--once", "--json") as second:
            until(lambda: second.poll() is not None, "the end", tmp_path)
            assert second.returncode == 0, log.read_text()
    told = len(log.read_text())
    with running(log, "coordinator", kits / "coordinator"):
        until(lambda: "researchers reach it" in log.read_text()[told:], "a desk", tmp_path)
        command("fetch", "small", "--federation", kits / "ada", "--to", tmp_path / "fetched")
    weights = Path("model") / "model.safetensors"
    assert (tmp_path / "fetched" / weights).read_bytes() == (run / weights).read_bytes()
    played = [record for record in rounds(run) if record["round"] > 0]
    assert [record["round"] for record in played] == [1, 2, 3]

    stood = sum(record["stood"] for record in played)  # a masked round that a crash cut is lost, and recorded so
    assert stood >= 2, played
    if stood == 3:
        embedded = load_file(foedus.run(config).model / "model.safetensors")
        for name, value in load_file(run / "model" / "model.safetensors").items():
            torch.testing.assert_close(value, embedded[name], rtol=1e-3, atol=1e-3)
    until(lambda: not processes_of(kits), "the end of everything that was started", tmp_path)
