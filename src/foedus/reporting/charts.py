"""Charts over rounds: lines with bands, and stacked columns. Pure functions that return SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foedus.reporting.frame import (
    CHARACTER_WIDTH,
    LABEL_HEIGHT,
    Caption,
    KeyEntry,
    Plot,
    Size,
    bottom_axis,
    fitting,
    key_row,
    label,
    picture,
    spread,
    symbol,
    value_grid,
)
from foedus.reporting.phrasing import metric_value
from foedus.reporting.svg import Scale, coordinate, element, polyline, round_axis, value_axis, words

MOST_POINTS = 200  # of a line; more are not to be told apart
MOST_MARKERS = 40


@dataclass(frozen=True)
class Line:
    """A named line through (round, value). style: the CSS class of its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str


@dataclass(frozen=True)
class Band:
    """A named area through (round, low, high)."""

    name: str
    points: Sequence[tuple[float, float, float]]
    style: str


@dataclass(frozen=True)
class Stack:
    """One layer of stacked columns. style: the CSS class of its colour."""

    name: str
    values: Sequence[float]
    style: str


def thinned(count: int, most: int = MOST_POINTS) -> Sequence[int]:
    """Return at most about `most` of the indices below count, evenly spread, with the first and the last.

    >>> thinned(5), thinned(9, most=3)
    ([0, 1, 2, 3, 4], [0, 4, 8])
    """
    step = max(1, math.ceil((count - 1) / max(1, most - 1)))
    kept = list(range(0, count, step))
    return kept if not kept or kept[-1] == count - 1 else [*kept, count - 1]


def line_chart(
    caption: Caption,
    lines: Sequence[Line],
    *,
    y_label: str,
    size: Size,
    bands: Sequence[Band] = (),
    x_label: str = "round",
) -> str:
    """Return lines over rounds, each labelled at its end; later ones lie above earlier ones.

    x_label: of what is not rounds, any number may stand on the axis.
    """
    named: list[Line | Band] = [*lines, *bands]
    longest = max((len(entry.name) for entry in named), default=0)
    margin = min(24 + CHARACTER_WIDTH * longest, size.width * (0.33 if size.is_narrow else 0.26))
    rounds = [point[0] for entry in named for point in entry.points] or [0.0]
    values = [value for entry in named for point in entry.points for value in point[1:]]
    y_axis = value_axis(values)
    left = 16 + CHARACTER_WIDTH * max(len(text) for text in y_axis.labels)
    plot = Plot(left=left, right=size.width - margin, top=34, bottom=size.height - 44)
    ticks = 5 if size.is_narrow else 10
    counts = x_label == "round"
    x_axis = round_axis(int(min(rounds)), int(max(rounds)), ticks) if counts else value_axis(rounds, True, ticks)
    across, up = x_axis.scale(plot.left, plot.right), y_axis.scale(plot.bottom, plot.top)
    return picture(
        caption,
        size,
        value_grid(plot, y_axis, y_label),
        bottom_axis(plot, x_axis, x_label),
        *(_area(band, across, up) for band in bands),
        *(_line(line, across, up, x_label) for line in lines),
        _end_labels(named, plot, across, up, size.width - plot.right - 22),
    )


def _line(line: Line, across: Scale, up: Scale, x_label: str) -> str:
    kept = [line.points[index] for index in thinned(len(line.points))]
    placed = [(across(x), up(y)) for x, y in kept]
    finite = [(point, place) for point, place in zip(kept, placed, strict=True) if math.isfinite(place[1])]
    radius = 3.2 if len(finite) <= MOST_MARKERS else 0
    marks = [
        symbol("dot", *place, line.style, title=f"{line.name}, {x_label} {x:g}: {metric_value(y)}", radius=radius)
        for (x, y), place in finite
        if radius or len(finite) == 1
    ]
    path = element("path", d=polyline(placed), class_=f"line {line.style}")
    return element("g", element("title", words(line.name)), path, *marks, class_="series")


def _area(band: Band, across: Scale, up: Scale) -> str:
    kept = [band.points[index] for index in thinned(len(band.points))]
    finite = [(across(x), up(low), up(high)) for x, low, high in kept if math.isfinite(low) and math.isfinite(high)]
    outline = [(x, high) for x, _, high in finite] + [(x, low) for x, low, _ in reversed(finite)]
    return element("path", element("title", words(band.name)), d=polyline(outline), class_=f"band {band.style}")


def _end_labels(named: Sequence[Line | Band], plot: Plot, across: Scale, up: Scale, width: float) -> str:
    ends = [(entry, _end(entry)) for entry in named]
    placed = [(entry, across(end[0]), up(end[1])) for entry, end in ends if end]
    heights = spread([y for _, _, y in placed], LABEL_HEIGHT, plot.top, plot.bottom)
    parts = []
    for (entry, x, y), height in zip(placed, heights, strict=True):
        shown = fitting(entry.name, width)
        lead = f"M{coordinate(x + 4)} {coordinate(y)}L{coordinate(plot.right + 14)} {coordinate(height)}"
        parts.append(element("path", d=lead, class_=f"lead {entry.style}"))
        whole = entry.name if shown != entry.name else None
        parts.append(label(shown, plot.right + 18, height + 4, style="name", title=whole))
    return "".join(parts)


def _end(entry: Line | Band) -> tuple[float, float] | None:
    """Return the last finite point of a line, or of a band's upper edge."""
    points = [(point[0], point[-1]) for point in entry.points]
    return next((point for point in reversed(points) if math.isfinite(point[1])), None)


def column_chart(
    caption: Caption,
    rounds: Sequence[int],
    stacks: Sequence[Stack],
    *,
    y_label: str,
    describe: Callable[[float], str],
    size: Size,
) -> str:
    """Return stacked columns, one a round; many rounds are drawn by their evenly spread examples.

    describe: a value as text, for whoever rests the pointer on it.
    """
    kept = thinned(len(rounds), most=60)
    totals = [sum(_or_zero(stack.values[index]) for stack in stacks) for index in kept]
    y_axis = value_axis([0.0, *totals], from_zero=True, ticks=4)
    entries = [KeyEntry("column", stack.style, stack.name) for stack in stacks]
    key_markup, key_height = key_row(entries, size.width) if len(stacks) > 1 else ("", 0.0)
    left = 16 + CHARACTER_WIDTH * max(len(text) for text in y_axis.labels)
    plot = Plot(left=left, right=size.width - 12, top=key_height + 34, bottom=size.height - 44)
    up = y_axis.scale(plot.bottom, plot.top)
    pitch = (plot.right - plot.left) / max(1, len(kept))
    every = max(1, math.ceil(len(kept) / 10))
    columns: list[str] = []
    for place, index in enumerate(kept):
        x, base = plot.left + (place + 0.5) * pitch, 0.0
        width = min(44.0, pitch * 0.72)
        for stack in stacks:
            value = _or_zero(stack.values[index])
            told = f"round {rounds[index]}, {stack.name}: {describe(value)}"
            height = up(base) - up(base + value)
            if height > 0:
                columns.append(
                    element(
                        "rect",
                        element("title", words(told)),
                        x=x - width / 2,
                        y=up(base + value),
                        width=width,
                        height=height,
                        class_=f"column {stack.style}",
                    )
                )
            base += value
        if place % every == 0:
            columns.append(label(f"{rounds[index]:,}", x, plot.bottom + 19, "middle"))
    base_line = element("line", x1=plot.left, x2=plot.right, y1=plot.bottom, y2=plot.bottom, class_="base")
    name = label("round", plot.right, plot.bottom + 36, "end", style="axis")
    return picture(caption, size, key_markup, value_grid(plot, y_axis, y_label), *columns, base_line, name)


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else 0.0
