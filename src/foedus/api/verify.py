"""Checking a signed run's folder offline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.claims import check_claim
from foedus.config.loading import load_config
from foedus.config.secure_sums import build_rules
from foedus.config.signed_run import shown_of_rounds
from foedus.core.errors import ConfigError, SignatureError
from foedus.federation.run_folder import RunFolder
from foedus.privacy.signing.key_folder import PINS
from foedus.privacy.signing.pins import load_pins
from foedus.privacy.signing.receipts import check_receipts, read_receipts
from foedus.privacy.signing.round_entries import ReadLog
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
    run: Path | str,
    *,
    keys: Path | str | None = None,
    receipts: Sequence[Path | str] = (),
    bills: Sequence[Path | str] = (),
    without_privacy: bool = False,
    passed: Callable[[str], None] = lambda check: None,
) -> Verification:
    """Check every signature, proof and figure of a finished run, from its folder alone.

    keys: the folder of your pins, as `foedus keys` keeps it. Without it signatures are only known to fit the keys
        that the log itself names.
    receipts: files that participants keep of the run; each shows whether its owner was shown this very log.
    bills: files in which participants keep what the run cost them, where that is secret.
    without_privacy: leave out what needs the accountant (pip install foedus[privacy]).
    passed: is told each thing that holds, as it is found.
    Raises: SignatureError with the first thing that does not hold; MissingExtra if all else holds, and epsilon cannot
        be computed anew.
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
    config = _config(folder)
    check_ways(config, log)
    if log.sums:
        note(f"the participants of {len(log.sums)} secure sums signed their terms, and whose vectors are in them")
    for file in receipts:
        kept = read_receipts(Path(file))
        owner = check_receipts(kept, log.begun, log.tree)
        note(f"{len(kept)} receipts of {owner} are for this log")
    if summary.get("privacy") and without_privacy:
        note("NOT CHECKED: epsilon anew, as was asked")
    elif summary.get("privacy"):
        for check in check_claim(config, summary, log, [Path(file) for file in bills]):
            note(check)
    return Verification(
        run=log.begun.run,
        rounds=len(log.results),
        participants=len(log.begun.roster),
        updates=sum(len(result.counted) for result in log.results),
        root=log.tree.root().hex(),
        checks=tuple(checks),
        guarantee=summary.get("privacy"),
    )


def check_ways(config: sections.RunConfig, log: ReadLog) -> None:
    """Return if updates were summed, and shown, in the way that the configuration says.

    Raises: SignatureError if they were not.
    """
    if log.begun.rounds != (shown := shown_of_rounds(config)):
        raise SignatureError(f"the log shows {log.begun.rounds} rounds, and by the configuration they are {shown}")
    if not isinstance(config.secure_sum, sections.PlainSum):
        rules = build_rules(config.secure_sum)
        due = {"update": {rules}, "evaluation": {rules, replace(rules, threshold=0)}}
        terms = [found.terms for found in log.sums]
        if any(each.task != config.task.kind or each.rules not in due[each.purpose] for each in terms):
            raise SignatureError("a secure sum was made by other rules than those of the configuration")


def _config(folder: RunFolder) -> sections.RunConfig:
    try:
        return load_config(folder.config)
    except ConfigError as error:
        raise SignatureError(f"{folder.config} cannot be read: {error}") from error


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
