"""The end of a run between organisations: what it cost, what it left, and everybody's signature on that."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foedus.api.costs import Over
from foedus.api.playing import RunResult, leave_results, report_results
from foedus.api.summary import About, run_summary
from foedus.config.sections import RunConfig
from foedus.config.side import Side
from foedus.config.signed_run import SignedRun
from foedus.config.told_privacy import ToldGuard, read_spending, told_guarantee
from foedus.engines.remote import RemoteEngine
from foedus.federation.events import Observer
from foedus.federation.loop import Ending
from foedus.federation.messages import ParticipantId
from foedus.federation.run_folder import Record, RunFolder


@dataclass(frozen=True)
class Played:
    """A run whose rounds were played.

    config: as its folder has it. notes: on how it was set up. guard: where something is private. signed: if all sign.
    start_seconds: from the call to the first round.
    """

    config: RunConfig
    side: Side
    folder: RunFolder
    engine: RemoteEngine
    notes: Sequence[str]
    guard: ToldGuard | None
    signed: SignedRun | None
    start_seconds: float


def conclude(
    played: Played,
    ending: Ending,
    over: Over,
    *,
    observe: Observer,
    notice: Callable[[ParticipantId, str], None],
    patience_s: float,
) -> RunResult:
    """Ask what the run cost, write what it left, let everybody sign that, and tell all that it is over.

    over: what is known of its cost. patience_s: how long a signed run waits for those who are away.
    Raises: SignatureError if somebody owes a bill or a signature, or a bill does not fit what is signed already.
    """
    engine, signed = played.engine, played.signed
    if signed is not None and signed.is_attested():  # a crash left nothing to do but this
        engine.finish()
        summary = json.loads(played.folder.summary.read_text(encoding="utf-8"))
        return report_results(played.folder, summary, observe=observe)
    if signed is not None:
        _await_all(engine, patience_s)
    if played.guard is not None:
        over = over.ask(engine, played.folder, notice)
    if signed is None:
        engine.finish()

    def sign(summary: Mapping[str, Any]) -> None:
        if signed is None:
            return
        if played.guard is not None:
            over.require_told(played.side.ground.participants)
            signed.check_claim(played.config, summary)
        _await_all(engine, patience_s)
        signed.finish(summary)
        engine.finish()

    def summarise(records: Sequence[Record], stopped: str | None) -> Mapping[str, Any]:
        return _summary(played, over, records, stopped)

    ending = replace(ending, stopped=over.stopped)
    return leave_results(played.side, ending, played.folder, observe=observe, summarise=summarise, before_report=sign)


def _await_all(engine: RemoteEngine, patience_s: float) -> None:
    """Wait until everybody is there, or this long."""
    until = time.monotonic() + patience_s
    while engine.gather() and time.monotonic() < until:
        time.sleep(min(5.0, patience_s))


def _summary(played: Played, over: Over, records: Sequence[Record], stopped: str | None) -> Mapping[str, Any]:
    side, guard = played.side, played.guard
    about = About(None, len(side.ground.participants), None, None)
    summary = run_summary(side, records, played.folder, about, start_seconds=played.start_seconds, stopped=stopped)
    summary = {**summary, "between_organisations": True, "notes": [*played.notes, *summary["notes"]]}
    if guard is None:
        return summary
    asked = [record for record in records if record["round"] > 0]
    spending = read_spending(guard, over.told, {name for record in asked for name in record["cohort"]}, len(asked))
    return {**summary, "privacy": told_guarantee(guard, spending, len(asked))}
