"""Playing one run from its configuration to a model folder and a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foedus.api.digests import rows_digest, run_digest
from foedus.api.playing import RunResult, leave_results, play_rounds
from foedus.api.summary import About, run_summary, site_rows
from foedus.config.assemble import assemble
from foedus.config.dump import dump_config, relocate
from foedus.config.loading import load_config
from foedus.config.private_run import begin_private_run, shown_bills
from foedus.config.problems import refuse_problems
from foedus.config.sections import RunConfig
from foedus.config.signed_run import RunNames, begin_signed_run, load_signers
from foedus.core.errors import RunFolderError
from foedus.federation.events import Observer, ignore, to_all
from foedus.federation.own_reports import OwnReports
from foedus.federation.protocols import Algorithm
from foedus.federation.run_folder import Record, RunFolder, opened, refuse_or_clear
from foedus.privacy.ledger.guard import run_identity
from foedus.privacy.ledger.places import participants_folder

ConfigLike = RunConfig | Path | str | Mapping[str, Any]


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
    digest = run_digest(assembly.side, folder, assembly.plans, rows_digest(assembly))
    signed = begin_signed_run(config, federation, folder, inputs=digest, signers=signers, names=names)
    federation = signed.federation if signed else federation
    start_seconds = 0.0

    def ready() -> None:
        nonlocal start_seconds
        start_seconds = time.perf_counter() - began

    ending = play_rounds(assembly.side, federation, folder, digest=digest, observe=observe, ready=ready)

    def summarise(records: Sequence[Record], stopped: str | None) -> Mapping[str, Any]:
        sites = site_rows(assembly) if config.evaluation.per_site else None
        bills = shown_bills(config, private, names.participants, names.short) if private is not None else ()
        about = About(assembly.plans, len(assembly.data.sites), assembly.data.note, sites, bills)
        return run_summary(assembly.side, records, folder, about, start_seconds=start_seconds, stopped=stopped)

    def sign(summary: Mapping[str, Any]) -> None:
        if signed is not None:
            signed.finish(summary)

    return leave_results(assembly.side, ending, folder, observe=observe, summarise=summarise, before_report=sign)
