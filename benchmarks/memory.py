"""Peak memory of a federated round over that of a plain loop, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import foedus
from benchmarks.peak_memory import peak_mebibytes
from benchmarks.plain_loop import train_plainly
from benchmarks.settings import SETTINGS
from benchmarks.simulation import federated_round
from foedus.config.assemble import assemble


def peak_mib(settings: str, participants: int, kind: str) -> float:
    """Return the largest resident size of a fresh process that trains in this way."""
    arguments = json.dumps([settings, participants, kind])
    command = [sys.executable, "-m", "benchmarks.memory", arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _measure(settings: str, participants: int, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assembly = assemble(foedus.load_config(SETTINGS[settings](Path(folder), participants)))
    if kind == "plain":
        train_plainly(assembly)
    else:
        federated_round(assembly)()
    print(peak_mebibytes())


def main() -> None:
    for settings in SETTINGS:
        for participants in (8, 64):
            plain = peak_mib(settings, participants, "plain")
            federated = peak_mib(settings, participants, "federated")
            print(
                f"peak memory, {participants} participants, {settings}: {federated:.0f} MiB, "
                f"{federated / plain:.2f} of the plain loop's {plain:.0f} MiB (aim ≤ 1.3)",
                flush=True,
            )


if __name__ == "__main__":
    _measure(*json.loads(sys.argv[1]))
