"""Checking a signed run's folder offline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.distributed import UPLOADED
from foedus.config.guarantee import spent_by_round
from foedus.config.loading import load_config
from foedus.config.privacy import build_plans, is_reproducible
from foedus.config.secure_sums import build_rules
from foedus.config.signed_run import shown_of_rounds
from foedus.core.errors import ConfigError, MissingExtra, SignatureError
from foedus.federation.run_folder import RunFolder
from foedus.privacy.signing.key_folder import PINS
from foedus.privacy.signing.pins import load_pins
from foedus.privacy.signing.receipts import check_receipts, read_receipts
from foedus.privacy.signing.round_entries import ReadLog
from foedus.privacy.signing.verification import verify_run

PRECISION = 1e-3  # of the accountant's grid; a claim may be lower than what is computed anew by this share


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
    passed: Callable[[str], None] = lambda check: None,
) -> Verification:
    """Check every signature, proof and figure of a finished run, from its folder alone.

    keys: the folder of your pins, as `foedus keys` keeps it. Without it signatures are only known to fit the keys
        that the log itself names.
    receipts: files that participants keep of the run; each shows whether its owner was shown this very log.
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
    config = _config(folder)
    check_ways(config, log)
    if log.sums:
        note(f"the participants of {len(log.sums)} secure sums signed their terms, and whose vectors are in them")
    for file in receipts:
        kept = read_receipts(Path(file))
        owner = check_receipts(kept, log.begun, log.tree)
        note(f"{len(kept)} receipts of {owner} are for this log")
    if summary.get("privacy"):
        note(check_claim(config, summary, len(log.results)))
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


def check_claim(config: sections.RunConfig, summary: Mapping[str, Any], rounds: int) -> str:
    """Return what is found when epsilon is computed anew, from the configuration and the participants' sizes.

    A run may claim more than its own rounds cost: its ledgers know of earlier ones on the same rows.
    Raises: SignatureError if it claims less, or claims privacy that reproducible noise does not give.
    """
    claimed, privacy = summary["privacy"], config.privacy
    if isinstance(privacy, sections.NoPrivacy) or not isinstance(claimed, Mapping):
        raise SignatureError("summary.json claims privacy, but the configuration has none")
    if claimed.get("private") and is_reproducible(privacy):
        raise SignatureError("summary.json claims privacy, but the noise was reproducible")
    sizes = summary.get("sites")
    if isinstance(privacy, sections.RecordPrivacy) and (privacy.record != "row" or not isinstance(sizes, Mapping)):
        return "NOT CHECKED: epsilon anew, since the folder does not tell how many records each participant has"
    try:
        counts = {name: site["train"] for name, site in sizes.items()} if isinstance(sizes, Mapping) else {}
        if isinstance(privacy, sections.ParticipantPrivacy):
            counts = {str(number): 1 for number in range(summary["participants"])}
        plans = build_plans(config, counts, lambda: int(claimed["facts"][UPLOADED].replace(",", "")))
        assert plans is not None, "the configuration has privacy"
        several = isinstance(privacy, sections.RecordPrivacy) and privacy.person_at == "several_participants"
        spent = spent_by_round(plans, config.rounds.count, composed=several)[rounds]
        holds = float(claimed["epsilon"]) >= spent * (1 - PRECISION)
    except MissingExtra as error:
        return f"NOT CHECKED: epsilon anew: {error}"
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        raise SignatureError(
            f"epsilon cannot be computed anew from what the folder says ({type(error).__name__})"
        ) from error
    if not holds:
        raise SignatureError(
            f"summary.json claims epsilon {claimed['epsilon']:.6g}, but {rounds} rounds as configured cost {spent:.6g}"
        )
    return f"epsilon computed anew, {spent:.4g}, is not above the one that is claimed"


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
