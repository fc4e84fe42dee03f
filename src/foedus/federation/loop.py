"""The loop over rounds: play, record, checkpoint, until the last one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from foedus.core.errors import BudgetError, RoundError, RunFolderError
from foedus.federation.alone import FEDERATED, by_model
from foedus.federation.checkpoints import checkpoints, load_checkpoint, remove_leftovers, save_checkpoint
from foedus.federation.collect import Collected, CollectedEvaluation
from foedus.federation.events import Observer, RoundEnded, ignore
from foedus.federation.messages import COUNTS, Clock, Sums
from foedus.federation.protocols import ServerState
from foedus.federation.round import Federation, RoundReport, evaluate, play_round
from foedus.federation.run_folder import RunFolder

# After so many rounds in a row that did not stand, going on would only cost time.
PATIENCE = 3

# All else in a round's record tells who took part in it, how many, or what of a participant's work cannot be used.
TOLD_OF_HIDDEN_COHORTS = ("round", "stood", "reason", "learning_rate", "evaluation", "privacy")


@dataclass(frozen=True)
class Ending:
    """How a run's rounds ended. stopped: why before the last one; None after all of them."""

    state: ServerState
    stopped: str | None = None


def start_or_resume(federation: Federation, initial: ServerState, folder: RunFolder, config_digest: str) -> ServerState:
    """Return the state to go on from: the newest checkpoint's, or the initial one.

    The records of rounds after that checkpoint are forgotten: they will be played again.
    Raises: RunFolderError if the newest checkpoint is damaged or belongs to another run.
    """
    remove_leftovers(folder.checkpoints)
    places = checkpoints(folder.checkpoints)
    if not places:
        folder.rounds.unlink(missing_ok=True)
        return initial
    device = next(iter(initial.params.values())).device
    state, facts = load_checkpoint(places[-1], federation.engine, device)
    if facts.get("config") != config_digest:
        raise RunFolderError(
            f"{places[-1]} was written with other settings, rows or base weights than {folder.config} leads to now; "
            "put them back as they were, or start a new run"
        )
    folder.truncate_records(int(facts["records"]))
    return state


def run_rounds(
    federation: Federation,
    state: ServerState,
    folder: RunFolder,
    *,
    config_digest: str,
    keep_checkpoints: int,
    observe: Observer = ignore,
    learning_rate: Callable[[float], float] | None = None,
) -> Ending:
    """Play the rounds that are left, or as many as the privacy budgets allow, and return the last state.

    learning_rate: from progress in [0, 1] to the local learning rate, for the record.
    Raises: BudgetError if they do not allow the first one.
        RoundError when several rounds in a row do not stand, or bring nothing but noise; their checkpoint stays.
    """
    if state.round == 0 and not folder.rounds.exists() and federation.plan.evaluate_initially:
        evaluation = evaluate(federation, state, observe)
        record = initial_record(evaluation, federation)
        folder.append(record)
        if federation.journal is not None:
            federation.journal.note_evaluation(evaluation)
        observe(RoundEnded(record))
    failed, stopped = 0, None
    while state.round < federation.plan.rounds:
        rate = learning_rate(Clock(state.round, federation.plan.rounds).progress(0)) if learning_rate else None
        try:
            state, report = play_round(federation, state, observe)
        except BudgetError as refusal:
            if state.round == 0:
                raise
            stopped = str(refusal)
            break
        record = round_record(report, federation, rate)
        size = folder.append(record)
        if federation.journal is not None:
            federation.journal.note(state, report)
        save_checkpoint(
            folder.checkpoints,
            state,
            federation.engine,
            {"config": config_digest, "records": size},
            keep_checkpoints,
        )
        if federation.journal is not None:
            federation.journal.keep()
        observe(RoundEnded(record))
        if report.stood and not came_to_nothing(report):
            failed = 0
        elif len(report.cohort) >= federation.plan.min_reports:  # a small draw says nothing about the participants
            failed += 1
        if failed == PATIENCE:
            last = report.reason or "nobody sent an update that can be used"
            reasons = "; ".join(f"{name} {why}" for name, why in list(report.collected.left_out.items())[:3])
            raise RoundError(
                f"{PATIENCE} rounds in a row did not stand, the last one because {last}"
                + (f" ({reasons})" if reasons else "")
                + f". {folder.path} holds the state; mend the cause and go on with --resume"
            )
    if federation.guard is not None:
        federation.guard.finish()
    return Ending(state, stopped)


def came_to_nothing(report: RoundReport) -> bool:
    """Return whether participants were asked and none of their updates could be used.

    Such a round stands where an empty cohort releases noise; several in a row would be training on noise alone.
    """
    return bool(report.cohort) and report.collected.total.reports == 0


def initial_record(evaluation: CollectedEvaluation, federation: Federation) -> Mapping[str, Any]:
    """Return the record of round 0, the evaluation before training."""
    return {"round": 0, "evaluation": evaluation_record(evaluation, federation)}


def round_record(report: RoundReport, federation: Federation, learning_rate: float | None) -> Mapping[str, Any]:
    """Return a round's line of rounds.jsonl; sites' own figures are in it only if the run declares them.

    What a single site reported is its own figure, whatever it is called. Of a hidden cohort nothing is told.
    """
    collected = report.collected
    total = collected.total
    shown = federation.plan.per_site or total.reports != 1
    record: dict[str, Any] = {
        "round": report.round,
        "stood": report.stood,
        "reason": report.reason,
        "cohort": list(report.cohort),
        "reports": total.reports,
        "left_out": dict(collected.left_out),
        "weight": total.weight if shown else None,
        "train": {name: value / total.weight for name, value in total.metrics.items()} if shown else {},
        **{name: counted(report.collected, name) if shown else None for name in COUNTS},
        "learning_rate": learning_rate,
        "evaluation": evaluation_record(report.evaluation, federation) if report.evaluation else None,
        "bytes": {"down": collected.bytes_down, "up": collected.bytes_up},
        "seconds": {"train": round(report.train_seconds, 3), "evaluate": round(report.evaluate_seconds, 3)},
    }
    if federation.plan.compared:
        record["seconds"]["alone"] = round(report.alone_seconds, 3)
    if collected.clipped is not None:
        record["clipped"] = collected.clipped
    if report.privacy is not None:
        record["privacy"] = dict(report.privacy)
    if federation.plan.hide_cohort:
        told = {name: record[name] for name in TOLD_OF_HIDDEN_COHORTS if name in record}
        return {**told, "cohort_hidden": True}
    if federation.plan.per_site:
        record["sites"] = {
            name: {"train": dict(metrics), **{count: collected.counts[name].get(count) for count in COUNTS}}
            for name, metrics in collected.metrics.items()
        }
    return record


def counted(collected: Collected, name: str) -> int | None:
    """Return a count's sum over all updates; None if the strategy's updates do not hold it."""
    return collected.total.counts.get(name, 0) if all(name in c for c in collected.counts.values()) else None


def evaluation_record(evaluation: CollectedEvaluation, federation: Federation) -> Mapping[str, Any] | None:
    """Return the metrics over all sites and, if declared, of each; None if nobody has rows to measure on.

    Of a comparison, those of the other models stand under their names.
    "all" is empty if those who have were all left out. A metric that is NaN or infinite is null: JSON has neither.
    """
    if not evaluation.union and not evaluation.left_out:
        return None

    def scores(sums: Sums) -> Mapping[str, float | None]:
        return {name: value if math.isfinite(value) else None for name, value in federation.score(sums).items()}

    union = by_model(evaluation.union)
    sites = {name: by_model(sums) for name, sums in evaluation.sites.items()} if federation.plan.per_site else None

    def figures_of(model: str) -> dict[str, Any]:
        found: dict[str, Any] = {"all": scores(union[model]) if union.get(model) else {}}
        if sites is not None:
            found["sites"] = {name: scores(of[model]) for name, of in sites.items()}
        return found

    record = figures_of(FEDERATED)
    record |= {model: figures_of(model) for model in union if model != FEDERATED}
    record["bytes"] = {"down": evaluation.bytes_down, "up": evaluation.bytes_up}
    if evaluation.left_out:
        record["left_out"] = dict(evaluation.left_out)
    return record
