"""Who was left out, when and why, and which rounds did not stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from foedus.reporting.page import Table
from foedus.reporting.phrasing import listed, round_ranges
from foedus.reporting.records import RoundRecord, Run


def participation_tables(run: Run) -> Sequence[Table]:
    """Return what a reader must know of participation; nothing if every round went as planned."""
    tables = []
    if failures := _failures(run):
        rows = [
            [name, phase, round_ranges(rounds), f"{len(rounds):,}", reason]
            for (name, phase, reason), rounds in sorted(failures.items(), key=lambda item: -len(item[1]))
        ]
        head = ["site", "during", "rounds", "times", "reason"]
        tables.append(Table("Sites left out of a round", head, rows, frozenset({1, 2, 4})))
    fallen = [record for record in run.rounds if not record.stood]
    if fallen:
        rows = [[f"{record.round:,}", _reports(record), record.reason or "not told"] for record in fallen]
        tables.append(
            Table(
                "Rounds that did not stand: the model stayed as it was",
                ["round", "reports", "reason"],
                rows,
                frozenset({2}),
            )
        )
    return tables


def participation_sentence(run: Run) -> str:
    """Return one sentence for the top of the section."""
    sites = list(dict.fromkeys(name for name, _, _ in _failures(run)))
    fallen = sum(not record.stood for record in run.rounds)
    parts = []
    if sites:
        parts.append(f"{listed(sites)} {'was' if len(sites) == 1 else 'were'} left out of at least one round")
    if fallen:
        parts.append(f"{fallen:,} of {sum(record.round > 0 for record in run.rounds):,} rounds did not stand")
    return "; ".join(parts) + "."


def rounds_trained(run: Run) -> Mapping[str, int]:
    """Return for each participant the rounds in which its update was used."""
    counts: dict[str, int] = dict.fromkeys(run.participants, 0)
    for record in run.rounds:
        if record.stood:
            for name in record.cohort:
                counts[name] += name not in record.left_out
    return counts


def _reports(record: RoundRecord) -> str:
    return "hidden" if record.cohort_hidden else f"{record.reports} of {len(record.cohort)}"


def _failures(run: Run) -> Mapping[tuple[str, str, str], Sequence[int]]:
    failures: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for record in run.rounds:
        for name, reason in record.left_out.items():
            failures[name, "training", reason].append(record.round)
        for name, reason in (record.evaluation.left_out if record.evaluation else {}).items():
            failures[name, "evaluation", reason].append(record.round)
    return failures
