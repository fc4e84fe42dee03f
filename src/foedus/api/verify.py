"""Checking a signed run's folder offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foedus.api.keys import PINS
from foedus.core.errors import SignatureError
from foedus.federation.run_folder import RunFolder
from foedus.privacy.signing.pins import load_pins
from foedus.privacy.signing.verification import verify_run


@dataclass(frozen=True)
class Verification:
    """What holds of a run.

    checks: a sentence each; one that begins with NOT CHECKED says what could not be. updates: how many counted.
    guarantee: the privacy that everybody signed, as in summary.json; None if none is claimed.
    """

    run: str
    rounds: int
    participants: int
    updates: int
    root: str
    checks: tuple[str, ...]
    guarantee: Any = None


def verify(
    run: Path | str, *, keys: Path | str | None = None, passed: Callable[[str], None] = lambda check: None
) -> Verification:
    """Check every signature, proof and figure of a finished run, from its folder alone.

    keys: the folder of your pins, as `foedus keys` keeps it. Without it signatures are only known to fit the keys
        that the log itself names.
    passed: is told each thing that holds, as it is found.
    Raises: SignatureError with the first thing that does not hold.
    """
    folder = RunFolder(Path(run))
    checks: list[str] = []

    def note(check: str) -> None:
        checks.append(check)
        passed(check)

    pins = None
    if keys is not None:
        pins = load_pins(Path(keys) / PINS)
        if not pins:
            raise SignatureError(f"{Path(keys) / PINS} pins no key; pin the participants' with foedus keys pin")
    summary = _summary(folder)
    log = verify_run(folder, summary, pins, note)
    return Verification(
        run=log.begun.run,
        rounds=len(log.results),
        participants=len(log.begun.roster),
        updates=log.updates,
        root=log.tree.root().hex(),
        checks=tuple(checks),
        guarantee=summary.get("privacy"),
    )


def _summary(folder: RunFolder) -> dict[str, Any]:
    try:
        summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SignatureError(
            f"{folder.summary} cannot be read ({type(error).__name__}); {folder.path} must be a finished run's folder"
        ) from error
    if not isinstance(summary, dict):
        raise SignatureError(f"{folder.summary} is no summary of a run")
    return summary
