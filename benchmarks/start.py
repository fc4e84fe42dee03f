"""How long a user waits: for --help, and for the first training step of the clinics example."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.settings import EXAMPLES

FOEDUS = Path(sys.executable).parent / "foedus"


def help_seconds(repeats: int = 5) -> list[float]:
    """Return the wall time of `foedus --help`, each in a fresh process."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([FOEDUS, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return times


def first_step_seconds() -> float:
    """Return the time from the start of `foedus run clinics.yaml` to its first round."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            FOEDUS, "run", EXAMPLES / "clinics.yaml", "--json",
            "--set", f"output.folder={folder}", "--set", "rounds.count=1",
        ]  # fmt: skip
        started = time.perf_counter()
        with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if '"round_started"' in line.lower() or "RoundStarted" in line:
                    seconds = time.perf_counter() - started
                    process.kill()
                    return seconds
    raise RuntimeError("no round started")


def main() -> None:
    print(f"foedus --help: median {statistics.median(help_seconds()):.2f} s (aim < 1 s)", flush=True)
    print(f"foedus run clinics.yaml to its first round: {first_step_seconds():.1f} s (aim < 15 s)", flush=True)
