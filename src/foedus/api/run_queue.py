"""The runs in a coordinator's kit: those that wait, those that are over, and what keeps one from going on.

Nothing here imports torch. What a run's folder holds beside its records: `failed.json`, why it ended before its last
round, and `stop`, that somebody asked for its end.
"""

from __future__ import annotations

import json
from pathlib import Path

from foedus.core.errors import FoedusError, LinkError
from foedus.federation.run_folder import RunFolder
from foedus.federation.state import StateFile, read_state

RUNS, FAILED, STOP = "runs", "failed.json", "stop"


def waiting_runs(kit: Path) -> list[RunFolder]:
    """Return the runs of a coordinator's kit that are not over, in the order in which they came."""
    folders = [path for path in (kit / RUNS).glob("*/") if (path / "config.yaml").is_file()]
    waiting = [path for path in folders if not is_over(path)]
    return [RunFolder(path) for path in sorted(waiting, key=lambda path: (path / "config.yaml").stat().st_mtime)]


def is_over(run: Path) -> bool:
    """Return whether nothing of a run is left to do, or it ended before that."""
    return is_complete(run) or (run / FAILED).is_file()


def is_complete(run: Path) -> bool:
    """Return whether a run came to its end: a signed one needs everybody's signature there."""
    signed = not (run / "log.jsonl").exists() or (run / "attestation.json").exists()
    return (run / "summary.json").is_file() and signed


def write_failure(run: RunFolder, error: FoedusError) -> None:
    """Write down why a run ended before its last round."""
    run.write(run.path / FAILED, json.dumps({"reason": str(error), "type": type(error).__name__}))


def stop(run: Path) -> None:
    """Ask the coordinator to end a run; it looks for that at every event.

    Raises: LinkError if the run is over.
    """
    if is_over(run):
        raise LinkError(f"the run {run.name} is over already; foedus fetch {run.name} takes its results")
    (run / STOP).touch()


def go_on(run: Path) -> None:
    """Let the coordinator play a run on that was stopped, or failed, from its last whole round.

    What a crash leaves half done of this can be done again: the run waits from the moment that `failed.json` is gone.
    Raises: LinkError if the run came to its end, or was not stopped.
    """
    if is_complete(run):
        raise LinkError(f"the run {run.name} came to its end; foedus fetch {run.name} takes its results")
    failed = (run / FAILED).is_file()
    if not failed and not (run / STOP).exists():
        raise LinkError(f"the run {run.name} is not over, and nobody stopped it; foedus status shows where it is")
    (run / STOP).unlink(missing_ok=True)
    if failed:
        StateFile(run, run.name, list(read_state(run).members)).waits("goes on when it is its turn")
        (run / FAILED).unlink(missing_ok=True)
