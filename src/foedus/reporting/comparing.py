"""Ways of training side by side, over seeds: a sentence, tables and charts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foedus.reporting.charts import Line, line_chart
from foedus.reporting.frame import Caption, Size, at_both_sizes
from foedus.reporting.page import Figure, Table
from foedus.reporting.phrasing import byte_size, counted, duration, metric_name, metric_value, signed
from foedus.reporting.records import Arm, ArmRun, Comparison
from foedus.reporting.site_charts import Mark, MarkRow, mark_rows

FEDERATED, POOLED, LOCAL, LINEAR = "federated", "pooled", "local only", "tf-idf"
START, ALONE = "start", "alone"  # of a run that compares: on each site's rows, its own model
SPOKEN = {START: "before training", ALONE: "each site alone"}
UNKNOWN = "not measured"
MOST_SITES = 24  # in the chart of what each site gains
SITE_NOTE = "On its own rows, each site's model is judged on the mix of cases that the site sees."


@dataclass(frozen=True)
class Measured:
    """A figure over seeds. deviation: the sample's standard deviation; 0 for one seed."""

    mean: float
    deviation: float = 0.0

    def __str__(self) -> str:
        """Return mean ± deviation."""
        return metric_value(self.mean) + (f" ± {metric_value(self.deviation)}" if self.deviation > 0 else "")


@dataclass(frozen=True)
class ArmFigures:
    """An arm's headline metric over seeds; None where it was not measured.

    union: on all sites' rows together; of a run that compares, each site's own model on that site's part of them.
    Where every site has its own model, and each is measured on all rows, the mean over these models,
    and best_alone is the best one. own: the mean over sites on their own rows. worst: the worst site on its own rows.
    """

    name: str
    union: Measured | None
    best_alone: Measured | None
    own: Measured | None
    worst: Measured | None
    seconds: float | None
    bytes: float | None


def arm_figures(comparison: Comparison) -> Sequence[ArmFigures]:
    """Return every arm's figures, in the comparison's order."""
    return [_figures(arm, comparison.headline, comparison.higher_is_better) for arm in comparison.arms]


def _figures(arm: Arm, metric: str, higher_is_better: bool) -> ArmFigures:
    best, worst = (max, min) if higher_is_better else (min, max)
    alone = [values for run in arm.runs if (values := _values(run.all_by_site, metric))]
    own = [values for run in arm.runs if (values := _values(run.sites, metric))]
    union = [run.all[metric] for run in arm.runs if run.all and metric in run.all]
    return ArmFigures(
        name=arm.name,
        union=_measured(union or [statistics.fmean(values) for values in alone]),
        best_alone=_measured([best(values) for values in alone]),
        own=_measured([statistics.fmean(values) for values in own]),
        worst=_measured([worst(values) for values in own]),
        seconds=_mean([run.seconds for run in arm.runs]),
        bytes=_mean([run.bytes for run in arm.runs]),
    )


def _values(sites: object, metric: str) -> Sequence[float]:
    return [of[metric] for of in sites.values() if metric in of] if isinstance(sites, dict) else []


def _measured(values: Sequence[float]) -> Measured | None:
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else 0.0
    return Measured(statistics.fmean(values), spread)


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return statistics.fmean(told) if told else None


def comparison_verdict(comparison: Comparison) -> str:
    """Return what the comparison shows, in plain words."""
    arms = {figures.name: figures for figures in arm_figures(comparison)}
    if ALONE in arms and FEDERATED in arms:
        return _worth(comparison, arms)
    name = metric_name(comparison.headline)
    federated = arms.get(FEDERATED)
    if federated is None or federated.union is None:
        return f"{counted(len(arms), 'way')} of training, compared by {name}."
    seeds = len(comparison.seeds)
    sentences = [
        f"Trained together without sharing rows, the model has {name} {federated.union} on all sites' rows"
        + (f" (mean ± deviation over {seeds} seeds)." if seeds > 1 else ".")
    ]
    if (pooled := arms.get(POOLED)) and pooled.union:
        ratio = federated.union.mean / pooled.union.mean if pooled.union.mean else math.nan
        sentences.append(f"Training on pooled rows gives {pooled.union}: {_ratio(ratio, comparison.higher_is_better)}.")
    if (local := arms.get(LOCAL)) and local.best_alone and local.union:
        better = _is_better(federated.union.mean, local.best_alone.mean, comparison.higher_is_better)
        sentences.append(
            f"A site alone gets {metric_value(local.union.mean)} on average and {metric_value(local.best_alone.mean)} "
            f"at best, so training together {'pays' if better else 'does not pay here'}."
        )
    if found := gains(comparison):
        sentences.append(
            f"On its own rows, {_winners(comparison)} of {counted(len(found), 'site')} gain by taking part."
        )
    if (linear := arms.get(LINEAR)) and linear.union:
        worse = _is_better(linear.union.mean, federated.union.mean, comparison.higher_is_better)
        remark = ", which is better: consider it first" if worse else ""
        sentences.append(f"A linear model on word counts (TF-IDF), on pooled rows, has {linear.union}{remark}.")
    return " ".join(sentences)


def _worth(comparison: Comparison, arms: Mapping[str, ArmFigures]) -> str:
    """Return whether it pays to take part, from a run that compares with what each site trains alone."""
    name, together, alone = metric_name(comparison.headline), arms[FEDERATED].union, arms[ALONE].union
    if together is None or alone is None:
        return f"{counted(len(arms), 'model')}, compared by {name}."
    of, better = comparison.of, _is_better(together.mean, alone.mean, comparison.higher_is_better)
    whose = f"{of}'s rows" if of else "all sites' rows"
    before = arms[START].union if START in arms else None
    begins = f"; what training starts from has {before}" if before else ""
    joint = "taking part" if of else "training together"
    result = f"so {joint} {'pays' if better else 'does not pay here'}"
    if together.mean == alone.mean:
        result = f"so {joint} makes no difference here"
    own = f"A model trained on {of}'s rows alone" if of else "Each site's own model, trained and measured on its rows"
    sentences = [
        f"Trained together without sharing rows, the model has {name} {together} on {whose}{begins}.",
        f"{own} {'has' if of else 'alone, makes'} {alone}, {result}.",
    ]
    if found := gains(comparison):
        sentences.append(
            f"On its own rows, {_winners(comparison)} of {counted(len(found), 'site')} gain by taking part."
        )
    return " ".join(sentences)


def _ratio(ratio: float, higher_is_better: bool) -> str:
    if not math.isfinite(ratio):
        return "a ratio cannot be given"
    return (
        f"federated reaches {100 * ratio:.1f} % of it" if higher_is_better else f"federated has {ratio:.2f} times that"
    )


def _is_better(value: float, other: float, higher_is_better: bool) -> bool:
    return value > other if higher_is_better else value < other


def arms_table(comparison: Comparison) -> Table:
    """Return the arms side by side."""
    name = metric_name(comparison.headline)
    found = arm_figures(comparison)
    columns = {
        "training": [_spoken(comparison, figures.name) for figures in found],
        _whose(comparison): [_union_cell(figures) for figures in found],
        "own rows, mean of sites": [_cell(figures.own) for figures in found],
        "own rows, worst site": [_cell(figures.worst) for figures in found],
        "training time": [duration(of.seconds) if of.seconds is not None else "" for of in found],
        "bytes, both ways": [byte_size(figures.bytes) if figures.bytes else "" for figures in found],
    }
    told = {head: cells for head, cells in columns.items() if set(cells) - {"", UNKNOWN}}
    head, rows = list(told), [list(row) for row in zip(*told.values(), strict=True)]
    seeds = counted(len(comparison.seeds), "seed")
    return Table(f"{name[:1].upper()}{name[1:]} by way of training, over {seeds}", head, rows)


def _union_cell(figures: ArmFigures) -> str:
    if figures.best_alone:
        return f"{figures.union} (best {metric_value(figures.best_alone.mean)})"
    return _cell(figures.union)


def _cell(measured: Measured | None) -> str:
    return str(measured) if measured else UNKNOWN


def _spoken(comparison: Comparison, arm: str) -> str:
    return f"{comparison.of} alone" if arm == ALONE and comparison.of else SPOKEN.get(arm, arm)


def _whose(comparison: Comparison) -> str:
    return f"{comparison.of}'s rows" if comparison.of else "all sites' rows"


def comparison_figures(comparison: Comparison) -> Sequence[Figure]:
    """Return the charts: arms by value, the curves over rounds, and what each site gains."""
    return [
        figure for figure in (_arms_figure(comparison), _curve_figure(comparison), _gain_figure(comparison)) if figure
    ]


def _arms_figure(comparison: Comparison) -> Figure | None:
    shapes = (
        ("union", "dot", "s0", _whose(comparison) if comparison.of else "all sites' rows together"),
        ("own", "square", "s2", "own rows, mean of sites"),
        ("worst", "diamond", "s1", "own rows, worst site"),
    )
    rows = []
    for figures in arm_figures(comparison):
        measured = [(getattr(figures, of), *rest) for of, *rest in shapes]
        marks = [Mark(symbol, style, meaning, of.mean, of.deviation) for of, symbol, style, meaning in measured if of]
        rows.append(MarkRow(_spoken(comparison, figures.name), marks))
    if not any(row.marks for row in rows):
        return None
    name = metric_name(comparison.headline)
    best = "Higher is better." if comparison.higher_is_better else "Lower is better."
    caption = Caption(
        "compare-arms",
        "Ways of training",
        f"{name} of {counted(len(rows), 'way')} of training. {best} The table above holds the values.",
    )
    svg = at_both_sizes(lambda size: mark_rows(caption, rows, x_label=name, size=size))
    note = f"{best} Whiskers are one standard deviation over seeds." if len(comparison.seeds) > 1 else best
    note = note if comparison.of else f"{note} {SITE_NOTE}"
    return Figure(caption, svg, None, note)


def _curve_figure(comparison: Comparison) -> Figure | None:
    curves = [(arm.name, points) for arm in comparison.arms if len(points := _mean_curve(arm.runs)) > 1]
    if not curves:
        return None
    name = metric_name(comparison.headline)
    title = f"{name[:1].upper()}{name[1:]} on all sites' rows while training"
    caption = Caption(
        "compare-curves", title, f"{title}: mean over seeds of {counted(len(curves), 'way')} of training."
    )
    lines = [
        Line(arm, points, "all" if arm == FEDERATED else f"s{index + 1}") for index, (arm, points) in enumerate(curves)
    ]

    def draw(size: Size) -> str:
        return line_chart(caption, lines, y_label=name, size=size)

    rounds = sorted({number for _, points in curves for number, _ in points})
    found = [dict(points) for _, points in curves]
    rows = [[f"{number:g}", *(metric_value(of[number]) if number in of else "" for of in found)] for number in rounds]
    return Figure(caption, at_both_sizes(draw), Table(title, ["round", *(arm for arm, _ in curves)], rows))


def _mean_curve(runs: Sequence[ArmRun]) -> Sequence[tuple[float, float]]:
    values: dict[float, list[float]] = {}
    for run in runs:
        for number, value in run.curve:
            values.setdefault(number, []).append(value)
    return [(number, statistics.fmean(of)) for number, of in sorted(values.items())]


def gains(comparison: Comparison) -> Sequence[tuple[str, float, float]]:
    """Return (site, alone, federated) on the site's own rows, mean over seeds, least gain first."""
    arms = {arm.name: arm for arm in comparison.arms}
    alone = _own_means(arms.get(LOCAL) or arms.get(ALONE), comparison.headline)
    together = _own_means(arms.get(FEDERATED), comparison.headline)
    found = [(site, alone[site], together[site]) for site in alone if site in together]
    sign = 1 if comparison.higher_is_better else -1
    return sorted(found, key=lambda entry: sign * (entry[2] - entry[1]))


def _winners(comparison: Comparison) -> int:
    return sum(_is_better(together, alone, comparison.higher_is_better) for _, alone, together in gains(comparison))


def _own_means(arm: Arm | None, metric: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for run in arm.runs if arm else ():
        for site, of in (run.sites or {}).items():
            if metric in of:
                values.setdefault(site, []).append(of[metric])
    return {site: statistics.fmean(of) for site, of in values.items()}


def _gain_figure(comparison: Comparison) -> Figure | None:
    found = gains(comparison)
    if not found:
        return None
    name = metric_name(comparison.headline)
    title = "What each site gains by taking part"
    caption = Caption(
        "compare-gains", title, f"{name} on each site's own rows, of its own model and of the model trained together."
    )
    rows = [
        MarkRow(site, [Mark("ring", "s1", "own model", alone), Mark("dot", "s0", "trained together", together)], True)
        for site, alone, together in found[:MOST_SITES]
    ]
    svg = at_both_sizes(lambda size: mark_rows(caption, rows, x_label=name, size=size))
    cells = [[site, metric_value(alone), metric_value(both), signed(both - alone)] for site, alone, both in found]
    table = Table(f"{title}, least first", ["site", "own model", "trained together", "difference"], cells)
    note = f"{_winners(comparison)} of {counted(len(found), 'site')} gain."
    if len(found) > MOST_SITES:
        note += f" The {MOST_SITES} that gain least are drawn; the table holds all."
    return Figure(caption, svg, table, note)
