"""A run between organisations while it goes on: the same figures as in the report, from what is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from foedus.core.errors import RunFolderError
from foedus.federation.orders import Order, read_orders
from foedus.federation.state import STATE, Member, RunState, read_state
from foedus.reporting.curves import learning_figures
from foedus.reporting.page import KeyFigure, Table, render
from foedus.reporting.phrasing import byte_size, counted, duration, metric_name, metric_value, roughly
from foedus.reporting.privacy import spending_figures
from foedus.reporting.records import CONFIG, ROUNDS, SUMMARY, Parameters, Run, Summary, read_rounds, read_run

STANDINGS: Mapping[str, str] = {
    "waiting": "there, waiting",
    "working": "at work",
    "done": "done with this phase",
    "missing": "missing",
    "refused": "refused",
}
PHASES: Mapping[str, str] = {
    "waiting": "waiting",
    "alone": "training alone",
    "train": "training",
    "evaluate": "evaluating",
    "ended": "over",
    "stopped": "stopped",
}
COUNTS: Mapping[str, str] = {
    "train_rows": "training rows",
    "validation_rows": "validation rows",
    "test_rows": "test rows",
}
STALE_S = 60.0


def runs_in(folder: Path) -> Sequence[Path]:
    """Return the folders of runs in a kit, in a folder of runs, or the run's folder itself; the latest first.

    Raises: RunFolderError if there is none.
    """
    places = [folder, *folder.glob("*/"), *folder.glob("runs/*/")]
    found = {place.resolve(): place for place in places if (place / STATE).is_file()}
    if not found:
        raise RunFolderError(
            f"{folder} holds no run between organisations yet; name the coordinator's kit, or the folder of a run"
        )
    return sorted(found.values(), key=lambda place: (place / STATE).stat().st_mtime, reverse=True)


def chosen_run(folder: Path, name: str | None = None) -> Path:
    """Return the folder of the run of this name, or of the latest one.

    Raises: RunFolderError if there is none.
    """
    runs = runs_in(folder)
    if name is None:
        return runs[0]
    for run in runs:
        if run.name == name or read_state(run).run == name:
            return run
    raise RunFolderError(f"{folder} holds no run {name}; there are {', '.join(run.name for run in runs)}")


def values(folder: Path) -> dict[str, Any]:
    """Return the state as JSON values, with the last recorded figures. Raises: RunFolderError."""
    state, run = _read(folder)
    latest = next((record for record in reversed(run.rounds) if record.evaluation), None)
    measured = latest.evaluation.all if latest is not None and latest.evaluation is not None else None
    spent = next((record.privacy.epsilon for record in reversed(run.rounds) if record.privacy), None)
    return {
        **asdict(state),
        "evaluated": {"round": latest.round, "all": measured} if latest else None,
        "epsilon": spent,
        "orders": [asdict(order) for order in read_orders(folder)],
    }


def view(folder: Path, now: datetime | None = None) -> str:
    """Return the page's content as HTML; all text is escaped. Raises: RunFolderError."""
    state, run = _read(folder)
    now = now or datetime.now(UTC)
    return render(
        "watch_view.html.j2",
        state=state,
        line=headline(state, now),
        asked=orders_line(read_orders(folder)),
        stale=_age(state.updated, now) > STALE_S and state.phase not in {"ended", "stopped"},
        updated=_ago(state.updated, now),
        key_figures=_key_figures(state, run, now),
        members=members_table(state, now),
        learning=learning_figures(run),
        spending=spending_figures(run),
        budget=_budget(run),
        refusals=refusals_table(state),
    )


def page(nonce: str) -> str:
    """Return the page that shows the view and fetches it again. nonce: of its only script."""
    return render("watch.html.j2", nonce=nonce)


def headline(state: RunState, now: datetime) -> str:
    """Return where the run stands, in a sentence."""
    if state.phase in {"ended", "stopped"}:
        return f"{state.run} is {PHASES[state.phase]}" + (f": {state.note}" if state.note else "")
    place = f"round {state.round:,} of {state.rounds:,}, " if state.rounds else ""
    text = f"{state.run}: {place}{PHASES[state.phase]} for {roughly(_age(state.since, now))}"
    return f"{text}; {state.note}" if state.note else text


def orders_line(orders: Sequence[Order]) -> str:
    """Return who handed a run in, ended it early and went on with it, in a line; the latest few."""
    words = {"submit": "submitted", "stop": "stopped", "resume": "resumed"}
    return "; ".join(f"{words[order.what]} by {order.by}, {order.at}" for order in orders[-4:])


def members_table(state: RunState, now: datetime) -> Table:
    """Return who takes part: what it does, when it was last heard of, and the counts that it agreed to show."""
    shown = [key for key in COUNTS if any(key in member.counts for member in state.members.values())]
    rows = [
        [name, STANDINGS[member.standing], _ago(member.seen, now), *(_count(member, key) for key in shown)]
        for name, member in state.members.items()
    ]
    head = ["participant", "state", "last heard of", *(COUNTS[key] for key in shown)]
    return Table("Who takes part", head, rows, frozenset({1, 2}))


def refusals_table(state: RunState) -> Table:
    """Return who could not or would not do what was asked, the latest first."""
    rows = [[refusal.at, refusal.participant, refusal.reason] for refusal in reversed(state.refusals)]
    return Table("Refusals and failures, the latest first", ["time", "participant", "reason"], rows, frozenset({1, 2}))


def _read(folder: Path) -> tuple[RunState, Run]:
    state = read_state(folder)
    return state, _run_so_far(folder, state)


def _run_so_far(folder: Path, state: RunState) -> Run:
    """Return the run's folder as the report reads it; what is not written yet is taken from the state."""
    if (folder / SUMMARY).is_file() and state.phase == "ended":
        return read_run(folder)
    summary = Summary(
        name=state.run,
        finished=False,
        rounds=state.rounds,
        task="",
        headline=state.headline,
        higher_is_better=state.higher_is_better,
        parameters=Parameters(0, 0, 0),
    )
    text = (folder / CONFIG).read_text(encoding="utf-8") if (folder / CONFIG).is_file() else ""
    config = yaml.safe_load(text) if text else {}
    rounds = read_rounds(folder) if (folder / ROUNDS).is_file() else ()
    return Run(folder, summary, rounds, text, config if isinstance(config, Mapping) else {})


def _key_figures(state: RunState, run: Run, now: datetime) -> Sequence[KeyFigure]:
    there = sum(member.standing not in {"missing", "refused"} for member in state.members.values())
    figures = [
        KeyFigure("round", f"{state.round:,} of {state.rounds:,}", PHASES[state.phase]),
        KeyFigure("participants", f"{there} of {len(state.members)}", "are there"),
    ]
    evaluated = [record for record in run.rounds if record.evaluation and record.evaluation.all]
    if evaluated and (told := evaluated[-1].evaluation) and state.headline in (told.all or {}):
        value = metric_value((told.all or {})[state.headline])
        figures.append(KeyFigure(metric_name(state.headline), value, f"after round {evaluated[-1].round:,}"))
    played = [record for record in run.rounds if record.round > 0 and record.seconds]
    if played:
        took = sum(sum(record.seconds.values()) for record in played) / len(played)
        figures.append(KeyFigure("a round takes", duration(took), f"mean of {counted(len(played), 'round')}"))
        sent = sum(record.bytes.get("up", 0) + record.bytes.get("down", 0) for record in played)
        if sent:
            figures.append(KeyFigure("sent", byte_size(sent), "up and down, all rounds"))
    return figures


def _budget(run: Run) -> str:
    """Return what the run may spend and has spent of privacy, in a sentence."""
    section = run.config.get("privacy")
    if not isinstance(section, Mapping) or section.get("kind") == "none":
        return ""
    spent = next((record.privacy.epsilon for record in reversed(run.rounds) if record.privacy), None)
    limit = f" of ε {section['epsilon']:g}" if isinstance(section.get("epsilon"), int | float) else ""
    return f"Spent so far: ε {spent or 0:.4g}{limit} for each of the {section['kind']}."


def _count(member: Member, key: str) -> str:
    return f"{member.counts[key]:,}" if key in member.counts else ""


def _age(time: str, now: datetime) -> float:
    try:
        return max(0.0, (now - datetime.fromisoformat(time)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _ago(time: str | None, now: datetime) -> str:
    if not time:
        return "never"
    age = _age(time, now)
    return "just now" if age < 5 else f"{roughly(age)} ago"
