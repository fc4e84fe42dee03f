"""Playing a run's rounds to their end, whatever the engine: from a federation that is ready to a model and a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foedus.api.baselines import write_baselines
from foedus.config.side import Side
from foedus.core.errors import RoundError
from foedus.federation.events import Observer, RunEnded, RunStarted
from foedus.federation.loop import Ending, run_rounds, start_or_resume
from foedus.federation.protocols import ServerState
from foedus.federation.round import Federation
from foedus.federation.run_folder import Record, RunFolder
from foedus.training.settings import learning_rate_at

# From the records and why the run stopped, if it did, to what summary.json holds; the model is written.
Summarise = Callable[[Sequence[Record], str | None], Mapping[str, Any]]


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    folder: the run folder. model: an ordinary Hugging Face folder in it. report: one HTML file.
    summary: what summary.json holds. rounds: one record a round, as in rounds.jsonl.
    """

    folder: Path
    model: Path
    report: Path
    summary: Mapping[str, Any]
    rounds: Sequence[Record]


def play_rounds(
    side: Side,
    federation: Federation,
    folder: RunFolder,
    *,
    digest: str,
    observe: Observer,
    ready: Callable[[], None] = lambda: None,
) -> Ending:
    """Play a run's rounds, from the newest checkpoint on if there is one, and return how they ended.

    digest: what a checkpoint must agree with. ready: is called before the first round.
    Raises: RoundError if rounds do not stand, or none did.
    """
    initial = ServerState(0, side.initial, federation.algorithm.init(side.initial))
    state = start_or_resume(federation, initial, folder, digest)
    ready()
    observe(run_started(side, federation.engine.population(), state.round + 1))
    ending = run_rounds(
        federation,
        state,
        folder,
        config_digest=digest,
        keep_checkpoints=side.config.output.checkpoints,
        observe=observe,
        learning_rate=lambda progress: learning_rate_at(side.settings, progress),
    )
    _require_trained(folder)
    return ending


def leave_results(
    side: Side,
    ending: Ending,
    folder: RunFolder,
    *,
    observe: Observer,
    summarise: Summarise,
    before_report: Callable[[Mapping[str, Any]], None] = lambda summary: None,
) -> RunResult:
    """Write the model, the summary, the model card and the report of a run that is over.

    before_report: is given the summary when the model is written.
    """
    from foedus.models.export import save_model
    from foedus.reporting.model_card import write_model_card

    records = folder.records()
    side.workspace.load(ending.state.params)
    save_model(side.workspace.model, side.loaded.tokenizer, folder.model, merge=side.config.output.merge_adapter)
    summary = summarise(records, ending.stopped)
    folder.write(folder.summary, json.dumps(summary, indent=2))
    write_model_card(folder.path)
    write_baselines(side, folder, records, summary.get("data_note"))
    before_report(summary)
    return report_results(folder, summary, observe=observe)


def report_results(folder: RunFolder, summary: Mapping[str, Any], *, observe: Observer) -> RunResult:
    """Write the report of a run whose model and summary are there: the last thing that it leaves."""
    from foedus.reporting.report import write_report

    report = write_report(folder.path)
    observe(RunEnded(folder.path, folder.model, report, summary))
    return RunResult(folder.path, folder.model, report, summary, folder.records())


def run_started(side: Side, participants: Sequence[str], first_round: int, name: str | None = None) -> RunStarted:
    """Return the event that a run, or a baseline of it, begins with. name: the run's, unless told."""
    return RunStarted(
        name=name or side.config.name,
        participants=list(participants),
        rounds=side.config.rounds.count,
        first_round=first_round,
        headline=side.task.headline,
        higher_is_better=side.task.higher_is_better,
        parameters_sent=side.counts.sent,
        device=str(side.workspace.device),
    )


def _require_trained(folder: RunFolder) -> None:
    """Check that the model is another than the one that training started from.

    Raises: RoundError if no round stood.
    """
    played = [record for record in folder.records() if record["round"] > 0]
    if not any(record["stood"] for record in played):
        raise RoundError(
            f"none of the rounds stood, so nothing was learnt ({played[-1]['reason']}). {folder.rounds} says what "
            "happened; mend the cause and start anew with --overwrite"
        )
