"""What the coordinator answers to researchers: the same as on its own machine, and no file beside runs' results."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foedus.api.run_queue import RUNS, go_on, is_over, results_of, stop, waiting_runs
from foedus.core.errors import LinkError, RunFolderError
from foedus.engines.desk.requests import (
    MAX_ANSWER_BYTES,
    MAX_FILES,
    Asked,
    Done,
    FileEntry,
    FileList,
    GetFile,
    ListFiles,
    ListRuns,
    Resume,
    RunEntry,
    RunList,
    RunState,
    State,
    Stop,
    Submit,
)
from foedus.engines.desk.server import Answering, FileAnswer
from foedus.engines.kits.kit import Kit
from foedus.federation.orders import ORDERS, read_orders
from foedus.federation.state import STATE, read_state

# What `foedus watch` shows is read from these; of each run its state comes first, and the rest is not older.
SHOWN_FROM = (STATE, "config.yaml", "rounds.jsonl", "summary.json", ORDERS)
MAX_LISTED = 1000
MAX_WAITING = 100  # runs that researchers may have waiting


def answering(kit: Kit, tell: Callable[[str], None] = lambda text: None) -> Answering:
    """Return what answers researchers for a coordinator's kit. tell: is told who asks for what that changes a run."""
    one_at_a_time = threading.Lock()

    def answer(name: str, asked: Asked) -> Mapping[str, Any] | FileAnswer:
        match asked:
            case Submit() | Stop() | Resume():
                with one_at_a_time:
                    run = _changed(kit, name, asked)
                tell(f"{name} asked to {asked.ask} run {run}")
                return Done(run=run).model_dump()
            case ListRuns():
                return RunList(runs=list_runs(kit.folder)).model_dump()
            case State():
                return _state(kit, asked).model_dump()
            case ListFiles():
                return _files(_over(kit, asked.run)).model_dump()
            case GetFile():
                return _file(_over(kit, asked.run), asked.path)

    return answer


def list_runs(kit: Path) -> list[RunEntry]:
    """Return the runs of a coordinator's kit, the latest first, and the latest ones of very many."""
    found = [path for path in (kit / RUNS).glob("*/") if (path / "config.yaml").is_file()]
    found.sort(key=lambda path: (path / "config.yaml").stat().st_mtime, reverse=True)
    return [_entry(path) for path in found[:MAX_LISTED]]


def _entry(run: Path) -> RunEntry:
    try:
        state = read_state(run)
    except RunFolderError:
        return RunEntry(run=run.name, phase="waiting", round=0, rounds=0, by="", note="")
    by = next((order.by for order in reversed(read_orders(run)) if order.what == "submit"), "")
    return RunEntry(run=run.name, phase=state.phase, round=state.round, rounds=state.rounds, by=by, note=state.note)


def _changed(kit: Kit, name: str, asked: Submit | Stop | Resume) -> str:
    """Do what changes a run, and return the run's name."""
    if not isinstance(asked, Submit):
        run = _run(kit, asked.run)
        if isinstance(asked, Stop):
            stop(run, name)
        else:
            go_on(run, name)
        return run.name
    from foedus.api.submit import hand_in
    from foedus.config.loading import load_config
    from foedus.config.travelling import require_travelled

    if len(waiting_runs(kit.folder)) >= MAX_WAITING:
        raise LinkError(f"{MAX_WAITING} runs wait already; stop some, or wait")
    config = load_config(asked.config)
    config = config.rooted(kit.folder / RUNS / config.name)
    require_travelled(config)
    hand_in(config, kit, name)
    return config.name


def _run(kit: Kit, name: str) -> Path:
    """Return the folder of a run. Raises: RunFolderError if there is none."""
    run = kit.folder / RUNS / name
    if not (run / "config.yaml").is_file():
        raise RunFolderError(f"the federation {kit.league.name} has no run {name}; foedus status --all lists them")
    return run


def _over(kit: Kit, name: str) -> Path:
    """Return the folder of a run that is over. Raises: LinkError if it is not; RunFolderError if there is none."""
    run = _run(kit, name)
    if not is_over(run):
        raise LinkError(f"the run {name} is not over; foedus status shows where it is, and foedus stop ends it")
    return run


def _state(kit: Kit, asked: State) -> RunState:
    """Return what a run is shown from, but for what the researcher has already."""
    run = _run(kit, asked.run) if asked.run is not None else _latest(kit)
    texts = {name: (run / name).read_text(encoding="utf-8") for name in SHOWN_FROM if (run / name).is_file()}
    new = {name: text for name, text in texts.items() if text_digest(text) != asked.known.get(name)}
    if sum(len(text) for text in new.values()) > MAX_ANSWER_BYTES // 2:
        raise LinkError(
            f"the records of run {run.name} are too long to be watched from here; fetch them when it is over"
        )
    return RunState(run=run.name, files=new, there=list(texts))


def _latest(kit: Kit) -> Path:
    from foedus.reporting.live import chosen_run

    if not (runs := list_runs(kit.folder)):
        raise RunFolderError(f"the federation {kit.league.name} has had no run yet; foedus submit hands one in")
    try:
        return chosen_run(kit.folder)
    except RunFolderError:
        return _run(kit, runs[0].run)


def _files(run: Path) -> FileList:
    """Return what can be fetched of a run, with digests."""
    files = results_of(run)
    _refuse_too_many(run, files)
    return FileList(
        files=[
            FileEntry(path=path.relative_to(run).as_posix(), size=path.stat().st_size, sha256=_digest(path))
            for path in files
        ]
    )


def _file(run: Path, path: str) -> FileAnswer:
    """Return one of these files. Raises: LinkError if it is none of them, wherever it may lead."""
    for file in results_of(run):
        if file.relative_to(run).as_posix() == path:
            return FileAnswer(file, file.stat().st_size)
    raise LinkError(f"the run {run.name} has no file of that name to fetch")


def _refuse_too_many(run: Path, files: Sequence[Path]) -> None:
    if len(files) > MAX_FILES:
        raise LinkError(f"the run {run.name} has {len(files)} files; fetch it on the coordinator's machine")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
