"""A federation's processes as the service managers of its organisations keep them, to be killed one by one.

Kits are provisioned, everybody speaks mTLS over loopback, and each side is a process of its own that is started again
when it ends, as by systemd's Restart=always.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from end_to_end.small_runs import SITES
from end_to_end.test_federation import FOEDUS, command, free_port

RESTART_S = 2.0
PATIENCE_S = 600.0  # a busy machine takes a minute to import what a trainer needs

Part = Literal[
    "coordinator", "FLARE's server", "server's job", "participant", "FLARE's client", "client's job", "trainer"
]
SERVER_PARTS: tuple[Part, ...] = ("coordinator", "FLARE's server", "server's job")
SITE_PARTS: tuple[Part, ...] = ("participant", "FLARE's client", "client's job", "trainer")
# what stands in the command line of each, below the process that foedus started
_SIGNS: Mapping[Part, bytes] = {
    "FLARE's server": b"foedus.engines.flare.guarded",
    "server's job": b"runner_process",
    "FLARE's client": b"foedus.engines.flare.guarded",
    "client's job": b"worker_process",
    "trainer": b"foedus.api.trainer",
}


@dataclass
class _Service:
    arguments: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None


class Services:
    """Keeps everybody's process running, from `start` to `stop`."""

    def __init__(self, kits: Path, logs: Path, options: Sequence[str] = ()) -> None:
        self.kits = kits
        logs.mkdir(parents=True, exist_ok=True)
        sides = {"coordinator": ["coordinator", str(kits / "coordinator"), *options]}
        sides |= {name: ["participant", str(kits / name)] for name in SITES}
        self._services = {name: _Service(line, logs / f"{name}.log") for name, line in sides.items()}
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Start everybody, and whoever ends again."""
        for service in self._services.values():
            _start(service)
        self._keeper.start()

    def stop(self) -> None:
        """End everybody as a service manager does, and wait."""
        self._stopping.set()
        self._keeper.join()
        running = [service.process for service in self._services.values() if service.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, name: str) -> Path:
        """Return where a side's output goes."""
        return self._services[name].log

    def pid(self, owner: str, part: Part) -> int | None:
        """Return the number of one side's process of this kind, if there is one now."""
        process = self._services[owner].process
        if process is None or process.poll() is not None:
            return None
        if part in ("coordinator", "participant"):
            return process.pid
        return next((pid for pid in descendants(process.pid) if _SIGNS[part] in _command_line(pid)), None)

    def kill(self, owner: str, part: Part) -> int:
        """Kill one side's process of this kind with kill -9, as soon as there is one, and return its number."""
        until = time.monotonic() + PATIENCE_S
        while (pid := self.pid(owner, part)) is None:
            if time.monotonic() > until:
                raise AssertionError(f"{owner} has no {part} to kill")
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        return pid

    def _keep(self) -> None:
        ended: dict[str, float] = {}
        while not self._stopping.wait(0.05):
            for name, service in self._services.items():
                if service.process is None or service.process.poll() is None:
                    ended.pop(name, None)
                elif time.monotonic() - ended.setdefault(name, time.monotonic()) > RESTART_S:
                    _start(service)


def _start(service: _Service) -> None:
    with service.log.open("ab") as output:
        service.process = subprocess.Popen([*FOEDUS, *service.arguments], stdout=output, stderr=output)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did, nearest first."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = place.read_text().rpartition(")")[2].split()
            children.setdefault(int(after_name[1]), []).append(int(place.parent.name))
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return found


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def provision(folder: Path, own: Mapping[str, Any], models: Sequence[str]) -> Path:
    """Make everybody's kit in a folder, over the rows of `small_run`, and return the kits' folder.

    own: what each participant's file says beside its data and the models that it allows.
    """
    parties = {
        "name": "league",
        "coordinator": {"host": "localhost", "port": free_port()},
        "organisations": list(SITES),
    }
    (folder / "federation.yaml").write_text(yaml.safe_dump(parties))
    command("provision", folder / "federation.yaml", "--folder", folder / "kits")
    for name in SITES:
        allow = {"runs": ["*"], "models": list(models), "tell_labels": True, "min_cohort": 2}
        file = {"data": {"train": str(folder / "sites" / f"{name}.csv")}, "allow": allow, "device": "cpu", **own}
        file["ledgers"] = str(folder / "ledgers" / name)
        (folder / "kits" / name / "participant.yaml").write_text(yaml.safe_dump(file))
    return folder / "kits"


class Heard:
    """What a participant's process says that it is asked, from now on."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = log.stat().st_size if log.exists() else 0
        self._rest = ""

    def news(self) -> list[str]:
        """Return the kinds of messages that came since the last call: begin, agree, train, step, evaluate, …"""
        if not self._log.exists():
            return []
        with self._log.open("rb") as file:
            file.seek(self._at)
            text = file.read().decode(errors="replace")
            self._at = file.tell()
        *lines, self._rest = (self._rest + text).split("\n")
        return [line.split()[1] for line in lines if " for run " in line and "starts a trainer" not in line]


def wait_until(reached: Callable[[], bool], what: str, seconds: float = PATIENCE_S, every: float = 0.05) -> None:
    """Return when it is so."""
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, f"{what} was not reached in {seconds:.0f} s"
        time.sleep(every)


def records(run: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a run's record."""
    place = run / "rounds.jsonl"
    if not place.exists():
        return []
    return [json.loads(line) for line in place.read_text().splitlines(keepends=True) if line.endswith("\n")]
