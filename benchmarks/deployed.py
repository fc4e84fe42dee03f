"""A whole run between organisations over the embedded run of the same file, both on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks.settings import EXAMPLES
from foedus.scenarios.clinics import SPECIALITIES

FOEDUS = [sys.executable, "-W", "ignore", "-c", "from foedus.cli.main import main; main()"]
MASKS = {"kind": "masks", "value_range": 4, "min_cohort": 3}


def main() -> None:
    """Print seconds of the rounds and of the start, embedded and deployed, and their ratio."""
    print("\na masked run between organisations, over mTLS on this machine, beside the embedded run (aim ≤ 1.3)")
    for name, hospitals in (("the demonstration", 3), ("clinics", 5)):
        with TemporaryDirectory(prefix="foedus-") as place:
            folder = Path(place)
            run = _written(folder / "federation", hospitals)
            embedded, deployed = _embedded(run, folder), _deployed(folder)
        ratio = deployed["rounds"] / embedded["rounds"]
        print(
            f"  {name}, {hospitals} hospitals: rounds {embedded['rounds']:.1f} s embedded, {deployed['rounds']:.1f} s "
            f"deployed, ratio {ratio:.2f}; start {embedded['start']:.1f} and {deployed['start']:.1f} s; "
            f"all {embedded['all']:.1f} and {deployed['all']:.1f} s",
            flush=True,
        )


def _written(folder: Path, hospitals: int) -> Path:
    """Write the demonstration for so many hospitals, and return its run's file."""
    shutil.copytree(EXAMPLES / "federation", folder)
    if hospitals == 3:
        return folder / "clinics.yaml"
    scenario = {"kind": "scenario", "scenario": {"kind": "clinics", "hospitals": hospitals}}
    run = yaml.safe_load((EXAMPLES / "clinics.yaml").read_text())
    run |= {"participants": scenario, "secure_sum": MASKS, "evaluation": {"every": 1, "per_site": False}}
    run["rounds"]["min_reports"] = hospitals
    league = yaml.safe_load((folder / "federation.yaml").read_text())
    league["organisations"] = list(SPECIALITIES)[:hospitals]  # the others' names hold spaces
    participant = yaml.safe_load((folder / "participant.yaml").read_text())
    participant["data"]["of"] = scenario
    for name, content in (("clinics", run), ("federation", league), ("participant", participant)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "clinics.yaml"


def _embedded(run: Path, folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    subprocess.run(
        [*FOEDUS, "run", str(run), "--output", str(folder / "embedded"), "--name", "run"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return _seconds(folder / "embedded" / "run", time.perf_counter() - started)


def _deployed(folder: Path) -> dict[str, float]:
    """Provision, start everybody, play the run, and stop everybody."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-W", "ignore", str(folder / "federation" / "demo.py"), "--folder", str(folder / "deployed")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    took = time.perf_counter() - started
    return _seconds(next((folder / "deployed" / "kits" / "coordinator" / "runs").iterdir()), took)


def _seconds(run: Path, took: float) -> dict[str, float]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())["seconds"]
    rounds = float(found["train"] + found["evaluate"])
    return {"rounds": rounds, "start": float(found["start"]), "all": took}


if __name__ == "__main__":
    main()
