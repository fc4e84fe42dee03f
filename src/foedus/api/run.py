"""Playing one run from its configuration to a model folder and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foedus.api.digests import run_digest
from foedus.api.summary import run_summary
from foedus.config.assemble import Assembly, assemble
from foedus.config.dump import dump_config, relocate
from foedus.config.loading import load_config
from foedus.config.private_run import begin_private_run
from foedus.config.problems import refuse_problems
from foedus.config.sections import RunConfig
from foedus.config.signed_run import RunNames, begin_signed_run, load_signers
from foedus.core.errors import RoundError, RunFolderError
from foedus.federation.events import Observer, RunEnded, RunStarted, ignore, to_all
from foedus.federation.loop import run_rounds, start_or_resume
from foedus.federation.own_reports import OwnReports
from foedus.federation.protocols import Algorithm
from foedus.federation.run_folder import Record, RunFolder, opened, refuse_or_clear
from foedus.privacy.ledger.guard import run_identity
from foedus.privacy.ledger.places import participants_folder
from foedus.training.settings import learning_rate_at

ConfigLike = RunConfig | Path | str | Mapping[str, Any]


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


def run(
    config: ConfigLike,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    algorithm: Algorithm | None = None,
    observe: Observer = ignore,
    debug: bool = False,
) -> RunResult:
    """Train what a configuration describes and return where the model and the report are.

    config: a YAML file, its content as a mapping, or what load_config returned.
    overrides: settings such as "local.learning_rate=1e-3", for a file or a mapping.
    overwrite: replace a run of the same name.
    algorithm: a strategy of your own, in place of the configured one.
    observe: is told of every event, as in foedus.federation.events.
    debug: raise a participant's error instead of leaving the participant out.
    Raises: ConfigError, DataError, ModelError, MissingExtra before training; RunFolderError if the folder is
        taken; RoundError if rounds do not stand.
    """
    resolved = as_config(config, overrides)
    refuse_problems(resolved)
    folder = RunFolder(resolved.run_folder)
    with opened(folder):
        refuse_or_clear(folder, overwrite)
        folder.write(folder.config, dump_config(relocate(resolved, folder.path)))
        return _play(resolved, folder, algorithm, observe, debug)


def resume(
    folder: Path | str, *, algorithm: Algorithm | None = None, observe: Observer = ignore, debug: bool = False
) -> RunResult:
    """Go on with an interrupted run from its last whole round; it ends as if it had never stopped.

    Raises: RunFolderError if there is no such run, or its configuration or data have changed.
    """
    place = RunFolder(Path(folder))
    if not place.config.is_file():
        raise RunFolderError(
            f"{place.path} holds no run (there is no {place.config.name}); start one with foedus run CONFIG"
        )
    with opened(place):
        return _play(load_config(place.config), place, algorithm, observe, debug)


def as_config(config: ConfigLike, overrides: Sequence[str]) -> RunConfig:
    """Return the resolved configuration."""
    return config if isinstance(config, RunConfig) else load_config(config, overrides)


def _play(
    config: RunConfig, folder: RunFolder, algorithm: Algorithm | None, observe: Observer, debug: bool
) -> RunResult:
    from foedus.reporting.trackers import tracking

    with tracking(config.output.trackers, folder.path / "trackers", config.model_dump(mode="json")) as tracked:
        return _train(config, folder, algorithm, to_all(observe, tracked), debug)


def _train(
    config: RunConfig, folder: RunFolder, algorithm: Algorithm | None, observe: Observer, debug: bool
) -> RunResult:
    from foedus.models.export import save_model
    from foedus.reporting.model_card import write_model_card
    from foedus.reporting.report import write_report

    began = time.perf_counter()
    assembly = assemble(config)
    signers = load_signers(config, [site.name for site in assembly.data.sites])
    run_id = run_identity(folder.identity)
    names = RunNames(run_id, f"{config.name}-{run_id[:8]}", participants_folder())
    assembly = assembly.with_range(algorithm, signers=signers, run=run_id)
    if assembly.config.secure_sum != config.secure_sum:  # so that a resumed run has the same range, and all can read it
        config = assembly.config
        folder.write(folder.config, dump_config(relocate(config, folder.path)))
    private = None
    if assembly.plans is not None:
        private = begin_private_run(config, assembly.plans, assembly.data.sites, folder, assembly.key)
    own_reports = None
    if not config.evaluation.per_site:
        own_reports = OwnReports(names.participants, names.short, assembly.task.score)
    federation = assembly.federation(
        algorithm, reraise=debug, private=private, own_reports=own_reports, signers=signers, run=run_id
    )
    digest = run_digest(assembly, folder)
    signed = begin_signed_run(config, federation, folder, inputs=digest, signers=signers, names=names)
    federation = signed.federation if signed else federation
    state = start_or_resume(federation, assembly.initial_state(federation), folder, digest)
    start_seconds = time.perf_counter() - began
    observe(run_started(assembly, config.name, state.round + 1))
    ending = run_rounds(
        federation,
        state,
        folder,
        config_digest=digest,
        keep_checkpoints=config.output.checkpoints,
        observe=observe,
        learning_rate=lambda progress: learning_rate_at(assembly.settings, progress),
    )
    records = folder.records()
    _require_trained(records, folder)
    assembly.workspace.load(ending.state.params)
    save_model(assembly.workspace.model, assembly.loaded.tokenizer, folder.model, merge=config.output.merge_adapter)
    summary = run_summary(assembly, records, folder, start_seconds, ending.stopped)
    folder.write(folder.summary, json.dumps(summary, indent=2))
    write_model_card(folder.path)
    if signed is not None:
        signed.finish(summary)
    report = write_report(folder.path)
    observe(RunEnded(folder.path, folder.model, report, summary))
    return RunResult(folder.path, folder.model, report, summary, records)


def _require_trained(records: Sequence[Record], folder: RunFolder) -> None:
    """Check that the model is another than the one that training started from.

    Raises: RoundError if no round stood.
    """
    played = [record for record in records if record["round"] > 0]
    if not any(record["stood"] for record in played):
        raise RoundError(
            f"none of the rounds stood, so nothing was learnt ({played[-1]['reason']}). {folder.rounds} says what "
            "happened; mend the cause and start anew with --overwrite"
        )


def run_started(assembly: Assembly, name: str, first_round: int) -> RunStarted:
    """Return the event that a run, or a baseline of it, begins with."""
    return RunStarted(
        name=name,
        participants=[site.name for site in assembly.data.sites],
        rounds=assembly.config.rounds.count,
        first_round=first_round,
        headline=assembly.task.headline,
        higher_is_better=assembly.task.higher_is_better,
        parameters_sent=assembly.counts.sent,
        device=str(assembly.workspace.device),
    )
