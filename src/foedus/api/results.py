"""Ending a federation's run early, going on with it, and taking its results: from the coordinator's kit, or to a
researcher's machine.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from foedus.api.run_queue import RUNS, go_on, is_over, results_of, stop
from foedus.core.errors import LinkError
from foedus.engines.desk.client import DeskClient, require_fitting
from foedus.engines.desk.requests import Done, FileList, ListFiles, ListRuns, Resume, RunEntry, RunList, Stop, about
from foedus.engines.kits.kit import Kit, open_desk_kit
from foedus.reporting.live import chosen_run


def stop_run(federation: Path, name: str) -> str:
    """Ask the coordinator to end a run, and return where the run is.

    federation: the coordinator's kit, or a researcher's.
    Raises: LinkError if it is another's, or the run is over; RunFolderError if there is none.
    """
    kit = open_desk_kit(federation)
    if kit.role == "researcher":
        return DeskClient(kit).ask(about(Stop, name), Done).run
    folder = _run_of(kit, name)
    stop(folder)
    return str(folder)


def resume_run(federation: Path, name: str) -> str:
    """Let the coordinator go on with a run that was stopped, or failed, and return where the run is.

    It begins at the last whole round, or anew if there is none.
    Raises: LinkError if the kit is another's, the run came to its end, or was not stopped; RunFolderError if there is
        none.
    """
    kit = open_desk_kit(federation)
    if kit.role == "researcher":
        return DeskClient(kit).ask(about(Resume, name), Done).run
    folder = _run_of(kit, name)
    go_on(folder)
    return str(folder)


def runs_of_federation(federation: Path) -> Sequence[RunEntry]:
    """Return the runs that were handed in, the latest first. Raises: LinkError."""
    from foedus.api.desk import list_runs

    kit = open_desk_kit(federation)
    return DeskClient(kit).ask(ListRuns(), RunList).runs if kit.role == "researcher" else list_runs(kit.folder)


def fetch_run(federation: Path, name: str, to: Path) -> Path:
    """Copy what a run came to into a new folder: report, model, records, and no checkpoints.

    Raises: LinkError if the run is not over, or the folder is taken; RunFolderError if there is none; MessageError if
        what comes is not what the coordinator announced.
    """
    kit = open_desk_kit(federation)
    if to.exists():
        raise LinkError(f"{to} is there already; name another folder by --to")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".fetch-") as place:
        draft = Path(place) / "run"
        draft.mkdir()
        if kit.role == "researcher":
            _fetch(DeskClient(kit), name, draft)
        else:
            _copy(_run_of(kit, name), draft)
        draft.rename(to)
    return to


def _fetch(client: DeskClient, name: str, to: Path) -> None:
    """Bring a run's files over the network into a folder."""
    files = client.ask(about(ListFiles, name), FileList).files
    require_fitting(files, shutil.disk_usage(to).free)
    for file in files:
        client.fetch(name, file, to)


def _copy(run: Path, to: Path) -> None:
    """Copy a run's files into a folder. Raises: LinkError if it is not over."""
    if not is_over(run):
        raise LinkError(f"the run {run.name} is not over; foedus status shows where it is, and foedus stop ends it")
    for path in results_of(run):
        place = to / path.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def _run_of(kit: Kit, name: str) -> Path:
    place = kit.folder / RUNS / name
    return place if (place / "config.yaml").is_file() else chosen_run(kit.folder, name)
