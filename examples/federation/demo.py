"""make demo-federation: three hospitals and a coordinator as processes of their own, over mTLS on this machine.

Makes kits, starts everybody, hands the run in, shows how it goes, and stops all that it started, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from foedus.core.errors import FoedusError
from foedus.federation.state import RunState, read_state

HERE = Path(__file__).parent
RUN = HERE / "clinics.yaml"
FOEDUS = [sys.executable, "-c", "from foedus.cli.main import main; main()"]
STOP_S = 40.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/demo-federation"), help="where kits and logs are made"
    )
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as of foedus run")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if folder.exists():
        if not (folder / "federation.yaml").is_file():
            print(f"{folder} is there already, and was not made by this demonstration", file=sys.stderr)
            return 2
        shutil.rmtree(folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _demonstrate(folder, [f"--set={setting}" for setting in arguments.settings])
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _demonstrate(folder: Path, settings: Sequence[str]) -> int:
    kits = _provision(folder)
    hospitals = [path.parent for path in sorted(kits.glob("*/participant.yaml"))]
    with _processes(folder / "logs") as start:
        start("coordinator", ["coordinator", str(kits / "coordinator")])
        for kit in hospitals:
            shutil.copyfile(HERE / "participant.yaml", kit / "participant.yaml")
            start(kit.name, ["participant", str(kit), "--data", str(kit / "participant.yaml")])
        print(f"started the coordinator and {', '.join(kit.name for kit in hospitals)}; logs: {folder / 'logs'}")
        subprocess.run([*FOEDUS, "submit", str(RUN), "--federation", str(kits / "coordinator"), *settings], check=True)
        run = next(path.parent for path in (kits / "coordinator" / "runs").glob("*/config.yaml"))
        ended = _show(run, start.running)
    if ended != "ended":
        return 1
    print(f"the report is {run / 'report.html'}, the model {run / 'model'}")
    return 0


def _provision(folder: Path) -> Path:
    """Make everybody's kit in the folder, for a port that is free."""
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (HERE / "federation.yaml").read_text().replace("port: 8102", f"port: {port}")
    (folder / "federation.yaml").write_text(text)
    subprocess.run(
        [*FOEDUS, "provision", str(folder / "federation.yaml"), "--folder", str(folder / "kits")], check=True
    )
    return folder / "kits"


class _Starter:
    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __call__(self, name: str, command: Sequence[str]) -> None:
        """Start one side, in a process group of its own."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("wb") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
            self.processes[name] = subprocess.Popen(
                [*FOEDUS, *command], stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def running(self) -> Mapping[str, bool]:
        """Return who still runs."""
        return {name: process.poll() is None for name, process in self.processes.items()}


@contextmanager
def _processes(logs: Path) -> Iterator[_Starter]:
    """Give what starts processes, and stop them all at the end."""
    starter = _Starter(logs)
    try:
        yield starter
    finally:
        processes = starter.processes.values()
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)  # it ends what it has started itself
        until = time.monotonic() + STOP_S
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print("stopped everything that was started")


def _show(run: Path, running: Callable[[], Mapping[str, bool]]) -> str:
    """Print each change of the run's state until it is over, or somebody's process has ended."""
    shown = ""
    while True:
        time.sleep(0.5)
        if gone := [name for name, runs in running().items() if not runs]:
            print(f"{', '.join(gone)} ended; see its log", file=sys.stderr)
            return "broken"
        with suppress(FoedusError):
            state = read_state(run)
            if (line := _line(state)) != shown:
                print(line, flush=True)
                shown = line
            if state.phase in {"ended", "stopped"}:
                return state.phase


def _line(state: RunState) -> str:
    standing = ", ".join(f"{name} {member.standing}" for name, member in state.members.items())
    place = f"round {state.round} of {state.rounds}, {state.phase}" if state.rounds else state.phase
    return f"{place}: {standing}" + (f"; {state.note}" if state.note else "")


if __name__ == "__main__":
    sys.exit(main())
