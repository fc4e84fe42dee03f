"""The runs in a coordinator's kit: those that wait, those that are over, and what keeps one from going on.

Nothing here imports torch. What a run's folder holds beside its records: `failed.json`, why it ended before its last
round, and `stop`, that somebody asked for its end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from foedus.core.errors import LinkError
from foedus.engines.kits.kit import COORDINATOR
from foedus.federation.orders import note_order
from foedus.federation.run_folder import RunFolder
from foedus.federation.state import StateFile, read_state

RUNS, FAILED, STOP = "runs", "failed.json", "stop"
_KEPT_BACK = {"checkpoints", "outbox", "ground.json", FAILED, STOP}


def waiting_runs(kit: Path) -> list[RunFolder]:
    """Return the runs of a coordinator's kit that are not over, in the order in which they came."""
    folders = [path for path in (kit / RUNS).glob("*/") if (path / "config.yaml").is_file()]
    waiting = [path for path in folders if not is_over(path)]
    return [RunFolder(path) for path in sorted(waiting, key=lambda path: (path / "config.yaml").stat().st_mtime)]


def is_over(run: Path) -> bool:
    """Return whether nothing of a run is left to do, or it ended before that."""
    return is_complete(run) or (run / FAILED).is_file()


def is_complete(run: Path) -> bool:
    """Return whether a run came to its end, of which the report is written last; everybody signs a signed one's."""
    signed = not (run / "log.jsonl").exists() or (run / "attestation.json").exists()
    return (run / "summary.json").is_file() and signed and (run / "report.html").is_file()


def write_failure(run: RunFolder, reason: str, kind: str) -> None:
    """Write down why a run ended before its last round. kind: the error's type."""
    run.write(run.path / FAILED, json.dumps({"reason": reason, "type": kind}))


def stop(run: Path, by: str = COORDINATOR) -> None:
    """Ask the coordinator to end a run; it looks for that at every event. by: who asks, for the record.

    Raises: LinkError if the run is over.
    """
    if is_over(run):
        raise LinkError(f"the run {run.name} is over already; foedus fetch {run.name} takes its results")
    note_order(run, by, "stop")
    (run / STOP).touch()


def go_on(run: Path, by: str = COORDINATOR) -> None:
    """Let the coordinator play a run on that was stopped, or failed, from its last whole round. by: who asks.

    What a crash leaves half done of this can be done again: the run waits from the moment that `failed.json` is gone.
    Raises: LinkError if the run came to its end, or was not stopped.
    """
    if is_complete(run):
        raise LinkError(f"the run {run.name} came to its end; foedus fetch {run.name} takes its results")
    failed = (run / FAILED).is_file()
    if not failed and not (run / STOP).exists():
        raise LinkError(f"the run {run.name} is not over, and nobody stopped it; foedus status shows where it is")
    note_order(run, by, "resume")
    (run / STOP).unlink(missing_ok=True)
    if failed:
        StateFile(run, run.name, list(read_state(run).members)).waits("goes on when it is its turn")
        (run / FAILED).unlink(missing_ok=True)


def results_of(run: Path) -> Sequence[Path]:
    """Return the files that a run came to: report, model, records; no checkpoints, and nothing hidden.

    A link is one of them if it leads to one: a model's adapter shows its base by such links. Others are none.
    """
    place = run.resolve()
    return [path for path in sorted(run.rglob("*")) if _is_result(path.relative_to(run)) and _leads_to_one(path, place)]


def _leads_to_one(path: Path, place: Path) -> bool:
    """Return whether a file is, or a link leads to, one of the results in a run's folder, which is resolved."""
    if not path.is_file():
        return False
    real = path.resolve()
    return real.is_relative_to(place) and _is_result(real.relative_to(place))


def _is_result(path: Path) -> bool:
    return path.parts[0] not in _KEPT_BACK and not any(part.startswith(".") for part in path.parts)
