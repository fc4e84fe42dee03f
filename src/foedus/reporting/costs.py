"""What a run cost: bytes and time a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from foedus.reporting.charts import MOST_POINTS, Stack, column_chart, thinned
from foedus.reporting.frame import SMALL, Caption
from foedus.reporting.page import Figure, Table
from foedus.reporting.phrasing import byte_size, byte_unit, duration, time_unit
from foedus.reporting.records import Run


def cost_figures(run: Run) -> Sequence[Figure]:
    """Return the bytes and the seconds of each round, where the run tells them."""
    sizes = {record.round: record.bytes for record in run.rounds if record.bytes}
    times = {record.round: record.seconds for record in run.rounds if record.seconds}
    figures = []
    if sizes:
        names = {"down": "to the sites", "up": "from the sites"}
        figures.append(
            _columns("bytes", "Bytes a round, over all sites", sizes, names, unit_of=byte_unit, describe=byte_size)
        )
    if times:
        names = {"train": "training", "evaluate": "evaluation"}
        figures.append(_columns("time", "Time a round", times, names, unit_of=time_unit, describe=duration))
    return figures


def _columns(
    key: str,
    title: str,
    values: Mapping[int, Mapping[str, float]],
    names: Mapping[str, str],
    *,
    unit_of: Callable[[float], tuple[float, str]],
    describe: Callable[[float], str],
) -> Figure:
    rounds = list(values)
    divisor, unit = unit_of(max(sum(of.get(part, 0.0) for part in names) for of in values.values()))
    stacks = [
        Stack(name, [of.get(part, 0.0) / divisor for of in values.values()], style)
        for (part, name), style in zip(names.items(), ("s0", "s1"), strict=True)
    ]
    kept = [rounds[index] for index in thinned(len(rounds), MOST_POINTS)]
    rows = [[f"{number:,}", *(describe(values[number].get(part, 0.0)) for part in names)] for number in kept]
    total = sum(of.get(part, 0.0) for of in values.values() for part in names)
    caption = Caption(f"cost-{key}", title, f"{title}: {describe(total)} in all. The table below holds the values.")
    svg = column_chart(
        caption, rounds, stacks, y_label=unit, describe=lambda value: describe(value * divisor), size=SMALL
    )
    return Figure(caption, svg, Table(title, ["round", *names.values()], rows), half=True)
