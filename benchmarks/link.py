"""The link between organisations beside bare FLARE moving the same bytes, both in FLARE's simulator on this machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from foedus.engines.flare.environment import LINK

LARGE_BYTES = 100_000_000
REPEATS = 5


def main() -> None:
    """Print times, throughput and the coordinator's memory at 2 and at 8 participants."""
    print("\nthe link between organisations, beside bare FLARE (simulator, loopback)")
    for participants in (2, 8):
        sites = [f"site-{number}" for number in range(participants)]
        bare, ours = measured("benchmarks.link_bare", sites), measured_link(sites)
        print(f"  {participants} participants")
        for name, found in (("bare FLARE", bare), ("foedus", ours)):
            small, large = (statistics.median(found[size]) for size in ("small", "large"))
            rate = 2 * participants * LARGE_BYTES / 1e6 / large
            print(
                f"    {name:11} small {1000 * small:6.1f} ms   100 MB to all and back {large:6.2f} s ({rate:4.0f} MB/s)"
            )
        print(
            f"    memory      bare {bare['peak']:5.0f} MiB   link {ours['carrier']:5.0f} + {ours['peak']:5.0f} MiB",
            flush=True,
        )


def measured(module: str, sites: list[str]) -> dict[str, Any]:
    """Return what a program writes that runs FLARE's simulator."""
    with TemporaryDirectory(prefix="foedus-") as folder:
        _run([module, folder, *sites], Path(folder))
        return _found(Path(folder))


def measured_link(sites: list[str]) -> dict[str, Any]:
    """Return what the link's coordinator measures."""
    with TemporaryDirectory(prefix="foedus-") as name:
        folder = Path(name)
        doors = _start(["benchmarks.link_sites", name, *sites], folder)
        coordinator = _start(["benchmarks.link_coordinator", name, *sites], folder)
        carrier = _start(["foedus.engines.flare.simulated", f"{name}/sim", *sites], folder)
        try:
            if coordinator.wait(1200):
                raise RuntimeError((folder / "log").read_text()[-2000:])
            carrier.wait(120)
            return _found(folder)
        finally:
            for process in (doors, coordinator, carrier):
                process.kill()
                process.wait()


def _found(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def _environment(folder: Path) -> dict[str, str]:
    own = {LINK: str(folder), "FOUND": f"{folder}/found.json", "LARGE_BYTES": str(LARGE_BYTES), "REPEATS": str(REPEATS)}
    return {**os.environ, "PYTHONPATH": f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}", **own}


def _start(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-W", "ignore", "-m", *arguments]
        return subprocess.Popen(command, env=_environment(folder), stdout=log, stderr=log)


def _run(arguments: list[str], folder: Path) -> None:
    if _start(arguments, folder).wait(1200):
        raise RuntimeError((folder / "log").read_text()[-2000:])
