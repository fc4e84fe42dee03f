"""Ending a federation's run early, going on with it, and taking its results out of the coordinator's kit."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from foedus.api.run_queue import FAILED, RUNS, STOP, go_on, is_over, stop
from foedus.core.errors import LinkError
from foedus.engines.kits.kit import open_kit
from foedus.reporting.live import chosen_run

_KEPT_BACK = {"checkpoints", "outbox", "ground.json", FAILED, STOP}


def stop_run(federation: Path, name: str) -> Path:
    """Ask the coordinator of a kit to end a run, and return the run's folder.

    Raises: LinkError if it is not the coordinator's kit, or the run is over; RunFolderError if there is none.
    """
    folder = _run_of(federation, name)
    stop(folder)
    return folder


def resume_run(federation: Path, name: str) -> Path:
    """Let the coordinator of a kit go on with a run that was stopped, or failed, and return the run's folder.

    It begins at the last whole round, or anew if there is none.
    Raises: LinkError if it is not the coordinator's kit, the run came to its end, or was not stopped; RunFolderError if
        there is none.
    """
    folder = _run_of(federation, name)
    go_on(folder)
    return folder


def fetch_run(federation: Path, name: str, to: Path) -> Path:
    """Copy what a run came to into a new folder: report, model, records, and no checkpoints.

    Raises: LinkError if the run is not over, or the folder is taken; RunFolderError if there is none.
    """
    folder = _run_of(federation, name)
    if not is_over(folder):
        raise LinkError(f"the run {name} is not over; foedus status shows where it is, and foedus stop ends it")
    if to.exists():
        raise LinkError(f"{to} is there already; name another folder by --to")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".fetch-") as place:
        draft = Path(place) / "run"
        shutil.copytree(folder, draft, ignore=lambda _, names: [n for n in names if n in _KEPT_BACK or n[0] == "."])
        draft.rename(to)
    return to


def _run_of(federation: Path, name: str) -> Path:
    kit = open_kit(federation, "coordinator")
    place = kit.folder / RUNS / name
    return place if (place / "config.yaml").is_file() else chosen_run(kit.folder, name)
