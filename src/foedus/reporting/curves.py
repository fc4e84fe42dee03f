"""Learning curves of a run: the headline metric, losses, and every other metric over rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from foedus.reporting.charts import MOST_POINTS, Band, Line, line_chart, thinned
from foedus.reporting.frame import SMALL, Caption, Size, at_both_sizes
from foedus.reporting.page import Figure, Table
from foedus.reporting.phrasing import counted, metric_name, metric_value
from foedus.reporting.records import Metrics, RoundRecord, Run

MOST_LINES = 8  # of sites; more are drawn as a band
MOST_OTHER_METRICS = 4

Points = Sequence[tuple[int, float]]


def learning_figures(run: Run) -> Sequence[Figure]:
    """Return the headline metric's curves first, then losses, then what else was measured."""
    headline = run.summary.headline
    figures = [
        _figure(
            run, headline, f"{_capital(metric_name(headline))} on {run.split} rows", headline, _evaluated(headline)
        ),
        _loss_figure(run),
        _figure(run, "training-loss", "Training loss of each site", "loss", _trained, half=True, overall=False),
    ]
    if headline != "loss":
        figures.append(
            _figure(
                run,
                "loss",
                f"Loss of each site on {run.split} rows",
                "loss",
                _evaluated("loss"),
                half=True,
                overall=False,
            )
        )
    figures += [
        _figure(run, metric, _capital(metric_name(metric)), metric, _evaluated(metric), half=True, per_site=False)
        for metric in other_metrics(run)[:MOST_OTHER_METRICS]
    ]
    return [figure for figure in figures if figure]


def other_metrics(run: Run) -> Sequence[str]:
    """Return the names of the metrics beside the headline and the loss, as first seen."""
    shown = {run.summary.headline, "loss"}
    seen = dict.fromkeys(
        name
        for record in run.rounds
        if record.evaluation
        for name in (record.evaluation.all or {})
        if name not in shown
    )
    return list(seen)


Reader = Callable[[RoundRecord], tuple[float | None, Mapping[str, float]]]


def _evaluated(metric: str) -> Reader:
    """Return what reads a metric from a round's evaluation, over all sites and by site."""

    def read(record: RoundRecord) -> tuple[float | None, Mapping[str, float]]:
        evaluation = record.evaluation
        if evaluation is None:
            return None, {}
        return (evaluation.all or {}).get(metric), _of_sites(evaluation.sites or {}, metric)

    return read


def _trained(record: RoundRecord) -> tuple[float | None, Mapping[str, float]]:
    return record.train.get("loss"), _of_sites({name: site.train for name, site in record.sites.items()}, "loss")


def _of_sites(sites: Mapping[str, Metrics], metric: str) -> Mapping[str, float]:
    return {name: metrics[metric] for name, metrics in sites.items() if metric in metrics}


def _figure(
    run: Run,
    key: str,
    title: str,
    metric: str,
    read: Reader,
    *,
    half: bool = False,
    overall: bool = True,
    per_site: bool = True,
) -> Figure | None:
    """Return one metric's figure, or None if no round tells it as asked."""
    values = [(record.round, *read(record)) for record in run.rounds]
    whole = [(number, value) for number, value, _ in values if value is not None] if overall else []
    sites = [(number, told) for number, _, told in values if told] if per_site else []
    if not whole and not sites:
        return None
    lines, bands, table = _site_lines(sites, title, run.summary.higher_is_better and metric == run.summary.headline)
    if whole:
        lines = [*lines, Line("all sites", whole, "all")]
        table = _with_overall(table, whole, title)
    caption = Caption(f"curve-{key}", title, _description(title, whole, len(_names(sites))))

    def draw(size: Size) -> str:
        return line_chart(caption, lines, y_label=metric_name(metric), size=size, bands=bands)

    return Figure(caption, draw(SMALL) if half else at_both_sizes(draw), table, half=half)


def _loss_figure(run: Run) -> Figure | None:
    training = [(record.round, record.train["loss"]) for record in run.rounds if "loss" in record.train]
    read = _evaluated("loss")
    evaluation = [(record.round, value) for record in run.rounds if (value := read(record)[0]) is not None]
    if not training and not evaluation:
        return None
    lines = [
        Line(name, points, style)
        for name, points, style in (("training", training, "s1"), (f"{run.split} rows", evaluation, "all"))
        if points
    ]
    caption = Caption("curve-losses", "Loss over all sites", _description("Loss", evaluation or training, 0))
    columns = {"training": dict(training), f"{run.split} rows": dict(evaluation)}
    table = _rounds_table("Loss over all sites", {name: values for name, values in columns.items() if values})
    svg = line_chart(caption, lines, y_label="loss", size=SMALL)
    return Figure(caption, svg, table, "Training loss is measured on the fly, while the model changes.", half=True)


def _names(sites: Sequence[tuple[int, Mapping[str, float]]]) -> Sequence[str]:
    return list(dict.fromkeys(name for _, told in sites for name in told))


def _site_lines(
    sites: Sequence[tuple[int, Mapping[str, float]]], title: str, higher_is_better: bool
) -> tuple[Sequence[Line], Sequence[Band], Table]:
    """Return a line a site; of many sites their quartiles and extremes, and the worst and the best one."""
    names = _names(sites)
    by_name = {name: [(number, told[name]) for number, told in sites if name in told] for name in names}
    if len(names) <= MOST_LINES:
        lines = [Line(name, by_name[name], f"s{index}") for index, name in enumerate(names)]
        return lines, [], _rounds_table(title, {name: dict(points) for name, points in by_name.items()})
    spreads = {number: _quartiles(list(told.values())) for number, told in sites}
    bands = [
        Band("full range", [(number, of[0], of[4]) for number, of in spreads.items()], "outer"),
        Band("middle half", [(number, of[1], of[3]) for number, of in spreads.items()], "inner"),
    ]
    ranked = sorted(names, key=lambda name: _rank(by_name[name][-1][1], higher_is_better))
    lines = [
        Line(f"worst: {ranked[0]}", by_name[ranked[0]], "s1"),
        Line(f"best: {ranked[-1]}", by_name[ranked[-1]], "s2"),
        Line("median site", [(number, of[2]) for number, of in spreads.items()], "s0"),
    ]
    heads = ("lowest site", "lower quartile", "median site", "upper quartile", "highest site")
    columns = {head: {number: of[index] for number, of in spreads.items()} for index, head in enumerate(heads)}
    return lines, bands, _rounds_table(title, columns)


def _rank(value: float, higher_is_better: bool) -> float:
    if math.isnan(value):
        return -math.inf
    return value if higher_is_better else -value


def _quartiles(values: Sequence[float]) -> tuple[float, float, float, float, float]:
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        only = finite[0] if finite else math.nan
        return only, only, only, only, only
    lower, middle, upper = statistics.quantiles(finite, n=4, method="inclusive")
    return min(finite), lower, middle, upper, max(finite)


def _with_overall(table: Table, whole: Points, title: str) -> Table:
    values = dict(whole)
    if not table.rows:
        return _rounds_table(title, {"all sites": values})
    head = [table.head[0], "all sites", *table.head[1:]]
    rows = [[row[0], _cell(values.get(int(row[0].replace(",", "")))), *row[1:]] for row in table.rows]
    return Table(table.caption, head, rows)


def _rounds_table(title: str, columns: Mapping[str, Mapping[int, float]]) -> Table:
    rounds = sorted({number for values in columns.values() for number in values})
    kept = [rounds[index] for index in thinned(len(rounds))]
    rows = [[f"{number:,}", *(_cell(values.get(number)) for values in columns.values())] for number in kept]
    note = f" ({len(kept)} of {len(rounds)} rounds)" if len(rounds) > MOST_POINTS else ""
    return Table(f"{title}, by round{note}", ["round", *columns], rows)


def _cell(value: float | None) -> str:
    return "" if value is None else metric_value(value)


def _description(title: str, whole: Points, sites: int) -> str:
    parts = [f"{title} by round"]
    if whole:
        (first, before), (last, after) = whole[0], whole[-1]
        course = f"from {metric_value(before)} in round {first} to {metric_value(after)} in round {last}"
        parts.append(f"all sites together go {course}")
    if sites:
        shown = counted(sites, "site")
        parts.append(f"{shown} shown" if sites <= MOST_LINES else f"the spread of {shown} as a band")
    return "; ".join(parts) + ". The table below holds the values."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
