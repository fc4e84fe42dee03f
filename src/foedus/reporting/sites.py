"""The sites of a run: what each holds, and how the model does on its rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from foedus.reporting.frame import Caption, Size, at_both_sizes
from foedus.reporting.page import Figure, Table
from foedus.reporting.participation import rounds_trained
from foedus.reporting.phrasing import counted, metric_name, metric_value, signed
from foedus.reporting.records import Evaluation, Metrics, Run, SiteRows
from foedus.reporting.site_charts import MOST_NAMED_COLUMNS, Mark, MarkRow, mark_rows, ranked_dots, share_matrix

MOST_ROWS = 16  # of sites in the chart by name; more are drawn as ranked dots
MOST_MATRIX_SITES = 32
MOST_MATRIX_LABELS = 30


def ranked_sites(evaluation: Evaluation | None, metric: str, higher_is_better: bool) -> Sequence[tuple[str, float]]:
    """Return the sites that have the metric, worst first; NaN is the worst."""
    told = [(name, of[metric]) for name, of in ((evaluation and evaluation.sites) or {}).items() if metric in of]

    def goodness(entry: tuple[str, float]) -> float:
        value = entry[1] if higher_is_better else -entry[1]
        return -math.inf if math.isnan(value) else value

    return sorted(told, key=goodness)


def worst_site(run: Run, evaluation: Evaluation | None) -> tuple[str, float] | None:
    """Return the site with the worst headline metric, or None if sites' figures are not told."""
    ranked = ranked_sites(evaluation, run.summary.headline, run.summary.higher_is_better)
    return ranked[0] if ranked else None


def site_table(run: Run) -> Table | None:
    """Return what each site holds and reaches, worst first; None if the run tells nothing by site."""
    summary = run.summary
    final = (summary.final and summary.final.sites) or {}
    held = summary.sites or {}
    ranked = [name for name, _ in ranked_sites(summary.final, summary.headline, summary.higher_is_better)]
    names = [*ranked, *(name for name in {**held, **final} if name not in ranked)]
    if not names:
        return None
    values = [final[name][summary.headline] for name in ranked]
    mean = statistics.fmean(values) if values else math.nan
    others = [name for name in dict.fromkeys(key for of in final.values() for key in of) if name != summary.headline]
    trained = rounds_trained(run)
    uneven = len({trained.get(name, 0) for name in names}) > 1
    columns: dict[str, Sequence[str]] = {}
    if final:
        columns[metric_name(summary.headline)] = [_told(final.get(name, {}), summary.headline) for name in names]
        columns["from the mean"] = [_difference(final.get(name, {}), summary.headline, mean) for name in names]
    if held:
        rows = [held.get(name, SiteRows()) for name in names]
        columns["training rows"] = [f"{of.train:,}" for of in rows]
        if any(of.validation for of in rows):
            columns["validation rows"] = [f"{of.validation:,}" for of in rows]
        columns["test rows"] = [f"{of.test:,}" for of in rows]
        if any(of.labels for of in rows):
            columns["labels held"] = [_labels_held(of, summary.labels) for of in rows]
    if uneven:
        columns["rounds trained"] = [f"{trained.get(name, 0):,}" for name in names]
    for other in others:
        columns[metric_name(other)] = [_told(final.get(name, {}), other) for name in names]
    body = [[name, *cells] for name, *cells in zip(names, *columns.values(), strict=True)]
    order = ", worst first" if ranked else ""
    return Table(f"{counted(len(names), 'site')}{order}", ["site", *columns], body)


def _labels_held(rows: SiteRows, labels: Sequence[str] | None) -> str:
    held = sum(count > 0 for count in (rows.labels or {}).values())
    return f"{held} of {len(labels)}" if labels else f"{held}"


def _told(metrics: Metrics, metric: str) -> str:
    return metric_value(metrics[metric]) if metric in metrics else "none"


def _difference(metrics: Metrics, metric: str, mean: float) -> str:
    return signed(metrics[metric] - mean) if metric in metrics and math.isfinite(mean) else ""


def site_figure(run: Run) -> Figure | None:
    """Return the final headline metric of every site, beside the one before training; None if not told."""
    summary = run.summary
    ranked = ranked_sites(summary.final, summary.headline, summary.higher_is_better)
    if not ranked:
        return None
    before = (summary.initial and summary.initial.sites) or {}
    name = metric_name(summary.headline)
    overall = ((summary.final and summary.final.all) or {}).get(summary.headline)
    reference = ("all sites", overall) if overall is not None else None
    caption = Caption(
        "sites-final",
        f"{name[:1].upper()}{name[1:]} at each site",
        f"Final {name} on each site's own {run.split} rows, from {metric_value(ranked[0][1])} at {ranked[0][0]} "
        f"to {metric_value(ranked[-1][1])} at {ranked[-1][0]}. The table below holds the values.",
    )

    def draw(size: Size) -> str:
        if len(ranked) > MOST_ROWS:
            return ranked_dots(caption, ranked, y_label=name, size=size, reference=reference)
        rows = [
            MarkRow(
                site,
                [*_initial_mark(before.get(site, {}), summary.headline), Mark("dot", "s0", "after training", value)],
                True,
            )
            for site, value in ranked
        ]
        return mark_rows(caption, rows, x_label=name, size=size, reference=reference)

    rows = [[site, _told(before.get(site, {}), summary.headline), metric_value(value)] for site, value in ranked]
    return Figure(
        caption, at_both_sizes(draw), Table(caption.title, ["site", "before training", "after training"], rows)
    )


def _initial_mark(metrics: Metrics, metric: str) -> Sequence[Mark]:
    return [Mark("ring", "s0", "before training", metrics[metric])] if metric in metrics else []


def label_figure(run: Run) -> Figure | None:
    """Return how each site's training rows spread over the labels; None if not told, or for too many sites."""
    counts = {name: of.labels for name, of in (run.summary.sites or {}).items() if of.labels}
    if not 2 <= len(counts) <= MOST_MATRIX_SITES:
        return None
    totals = _totals(counts)
    shown = sorted(totals, key=lambda label: -totals[label])[:MOST_MATRIX_LABELS]
    sums = {name: sum(of.values()) or 1 for name, of in counts.items()}
    shares = [[of.get(label, 0) / sums[name] for name, of in counts.items()] for label in shown]
    rarer = len(totals) - len(shown)
    caption = Caption(
        "sites-labels",
        "Labels that each site holds",
        f"For {counted(len(counts), 'site')}, the share of its training rows that has each of "
        f"{counted(len(shown), 'label')}. The table below holds the counts.",
    )
    numbered = "Columns: " + ", ".join(f"{number} {name}" for number, name in enumerate(counts, start=1)) + "."
    note = "A darker square is a larger share of the site's training rows."
    if len(counts) > MOST_NAMED_COLUMNS:
        note, numbered = f"{note} {numbered}", ""
    if rarer:
        note += f" {counted(rarer, 'rarer label')} not shown."
    rows = [[label, *(f"{of.get(label, 0):,}" for of in counts.values())] for label in shown]
    return Figure(
        caption,
        at_both_sizes(lambda size: share_matrix(caption, shown, list(counts), shares, size=size)),
        Table("Training rows by label and site", ["label", *counts], rows),
        note,
        numbered,
    )


def _totals(counts: Mapping[str, Mapping[str, int]]) -> Mapping[str, int]:
    totals: dict[str, int] = {}
    for of in counts.values():
        for label, count in of.items():
            totals[label] = totals.get(label, 0) + count
    return totals
