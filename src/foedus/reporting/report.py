"""report.html: one self-contained file that says what a run, or a comparison, came to."""

from __future__ import annotations

from pathlib import Path

from foedus.reporting.comparing import arms_table, comparison_figures, comparison_verdict
from foedus.reporting.costs import cost_figures, traffic_table
from foedus.reporting.curves import learning_figures
from foedus.reporting.page import render, write_whole
from foedus.reporting.participation import participation_sentence, participation_tables
from foedus.reporting.phrasing import byte_size
from foedus.reporting.privacy import guarantee_table, limits_of, spending_figures
from foedus.reporting.records import COMPARISON, Comparison, Run, Summary, read_comparison, read_run
from foedus.reporting.signed import signed_by
from foedus.reporting.sites import label_figure, site_figure, site_table
from foedus.reporting.summed import summed_by
from foedus.reporting.verdicts import key_figures, uncertainty, verdict, where_played

REPORT = "report.html"
MOST_ROWS_OPEN = 24  # of the table of sites; more scroll inside


def write_report(folder: Path) -> Path:
    """Write the report of a run folder into it and return the file.

    A comparison.json in the folder, or in NAME-compare beside it, is shown as well.
    Raises: RunFolderError if a file of the folder is missing or damaged.
    """
    run = read_run(folder)
    return write_whole(folder / REPORT, report_page(run, _comparison_beside(folder)))


def write_comparison_report(folder: Path) -> Path:
    """Write the report of a comparison folder into it and return the file. Raises: RunFolderError."""
    return write_whole(folder / REPORT, comparison_page(read_comparison(folder)))


def _comparison_beside(folder: Path) -> Comparison | None:
    for place in (folder, folder.with_name(f"{folder.name}-compare")):
        if (place / COMPARISON).exists():
            return read_comparison(place)
    return None


def report_page(run: Run, comparison: Comparison | None = None) -> str:
    """Return the report of a run as HTML."""
    table = site_table(run)
    participation = participation_tables(run)
    return render(
        "report.html.j2",
        summary=run.summary,
        split=run.split,
        where_played=where_played(run),
        uncertainty=uncertainty(run),
        verdict=verdict(run),
        facts=_facts(run.summary),
        key_figures=key_figures(run),
        learning=learning_figures(run),
        evaluated=any(record.evaluation for record in run.rounds),
        sites_told=bool(run.summary.final and run.summary.final.sites),
        site_table=table,
        site_table_scrolls=table is not None and len(table.rows) > MOST_ROWS_OPEN,
        site_figures=[figure for figure in (site_figure(run), label_figure(run)) if figure],
        participation=participation,
        participation_sentence=participation_sentence(run) if participation else "",
        costs=cost_figures(run),
        traffic=traffic_table(run),
        evaluation_bytes=byte_size(run.summary.bytes["evaluation"]) if "evaluation" in run.summary.bytes else "",
        guarantee_table=guarantee_table(run.summary.privacy) if run.summary.privacy else None,
        spending=spending_figures(run),
        privacy_limits=limits_of(run.summary.privacy),
        comparison=_comparison_content(comparison) if comparison else None,
        config_text=run.config_text,
        signed_by=signed_by(run.folder, between_organisations=run.summary.between_organisations),
        summed_by=summed_by(run),
        rounds_played=sum(record.round > 0 for record in run.rounds),
    )


def comparison_page(comparison: Comparison) -> str:
    """Return the report of a comparison as HTML."""
    return render("comparison.html.j2", name=comparison.name, comparison=_comparison_content(comparison))


def _comparison_content(comparison: Comparison) -> dict[str, object]:
    return {
        "verdict": comparison_verdict(comparison),
        "table": arms_table(comparison),
        "figures": comparison_figures(comparison),
        "data_note": comparison.data_note,
        "seeds": comparison.seeds,
        "arms": [arm.name for arm in comparison.arms],
        "of": comparison.of,
    }


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """Return what was run, as name and value."""
    facts = [
        ("task", summary.task.replace("_", " ")),
        ("model", summary.model),
        ("tuning", summary.tuning),
        ("strategy", summary.strategy),
        ("seed", summary.seed),
        ("device", summary.device),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]
