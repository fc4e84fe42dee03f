"""Charts over sites or ways of training: marks in rows, ranked dots, and a matrix. Pure functions that return SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foedus.reporting.frame import (
    CHARACTER_WIDTH,
    Caption,
    KeyEntry,
    Plot,
    Size,
    Symbol,
    bottom_axis,
    fitting,
    key_row,
    label,
    picture,
    symbol,
    value_grid,
)
from foedus.reporting.phrasing import metric_value
from foedus.reporting.svg import Axis, Scale, element, round_axis, value_axis, words

MOST_NAMED_COLUMNS = 16  # of a matrix; more are numbered


@dataclass(frozen=True)
class Mark:
    """A value in a row, with its deviation if several were measured. meaning: what the symbol stands for."""

    symbol: Symbol
    style: str
    meaning: str
    value: float
    deviation: float = 0.0


@dataclass(frozen=True)
class MarkRow:
    """A named row of marks: two joined by a line, with the second value as text, or several below one another."""

    name: str
    marks: Sequence[Mark]
    joined: bool = False


def mark_rows(
    caption: Caption,
    rows: Sequence[MarkRow],
    *,
    x_label: str,
    size: Size,
    reference: tuple[str, float] | None = None,
) -> str:
    """Return one row a name, its marks placed by value; the size's height is replaced by what the rows need.

    reference: a named value, drawn as a line through all rows.
    """
    meanings = {mark.meaning: KeyEntry(mark.symbol, mark.style, mark.meaning) for row in rows for mark in row.marks}
    entries = [*meanings.values()] + ([KeyEntry("line", "reference", reference[0])] if reference else [])
    key_markup, key_height = key_row(entries, size.width)
    stacked = max((len(row.marks) for row in rows if not row.joined), default=1)
    pitch = (32.0 if size.is_narrow else 20.0) + 8 * stacked
    longest = max(len(row.name) for row in rows)
    left = 12.0 if size.is_narrow else min(28 + CHARACTER_WIDTH * longest, 0.32 * size.width)
    plot = Plot(
        left=left,
        right=size.width - (62 if rows[0].joined else 16),
        top=key_height + 8,
        bottom=key_height + 16 + pitch * len(rows),
    )
    values = [
        edge
        for row in rows
        for mark in row.marks
        for edge in (mark.value - mark.deviation, mark.value + mark.deviation)
    ]
    axis = value_axis([*values, *([reference[1]] if reference else [])], ticks=4 if size.is_narrow else 8)
    across = axis.scale(plot.left, plot.right)
    drawn = [_row(row, plot, across, plot.top + pitch * (index + 0.5) + 4, size) for index, row in enumerate(rows)]
    line = ""
    if reference and math.isfinite(reference[1]):
        x = across(reference[1])
        line = element("line", x1=x, x2=x, y1=plot.top, y2=plot.bottom, class_="line reference")
    whole = Size(size.name, size.width, plot.bottom + 44)
    return picture(caption, whole, key_markup, bottom_axis(plot, axis, _named(x_label, axis), True), line, *drawn)


def _named(x_label: str, axis: Axis) -> str:
    return f"{x_label} (logarithmic scale)" if axis.logarithmic else x_label


def _row(row: MarkRow, plot: Plot, across: Scale, y: float, size: Size) -> str:
    if size.is_narrow:
        y += 7
        shown = fitting(row.name, plot.right - plot.left)
        name = label(shown, plot.left - 8, y - 13, style="name halo", title=row.name)
    else:
        shown = fitting(row.name, plot.left - 20)
        name = label(shown, plot.left - 14, y + 4, "end", style="name", title=row.name)
    finite = [mark for mark in row.marks if math.isfinite(mark.value)]
    parts = [name, element("line", x1=plot.left, x2=plot.right, y1=y, y2=y, class_="rail")]
    if row.joined and len(finite) > 1:
        parts.append(element("line", x1=across(finite[0].value), x2=across(finite[1].value), y1=y, y2=y, class_="join"))
    for place, mark in enumerate(finite):
        at = y if row.joined else y + 9 * (place - (len(finite) - 1) / 2)
        told = f"{row.name}, {mark.meaning}: {metric_value(mark.value)}"
        if mark.deviation > 0:
            told += f" ± {metric_value(mark.deviation)}"
            low, high = across(mark.value - mark.deviation), across(mark.value + mark.deviation)
            parts.append(element("line", x1=low, x2=high, y1=at, y2=at, class_=f"whisker {mark.style}"))
        parts.append(symbol(mark.symbol, across(mark.value), at, mark.style, title=told))
    if row.joined:
        parts.append(label(metric_value(row.marks[-1].value), plot.right + 14, y + 4, style="value"))
    return element("g", *parts, class_="series")


def ranked_dots(
    caption: Caption,
    ranked: Sequence[tuple[str, float]],
    *,
    y_label: str,
    size: Size,
    reference: tuple[str, float] | None = None,
) -> str:
    """Return one dot a site in the order given, worst first; the first and the last are named."""
    axis = value_axis([value for _, value in ranked] + ([reference[1]] if reference else []))
    left = 16 + CHARACTER_WIDTH * max(len(text) for text in axis.labels)
    plot = Plot(left=left, right=size.width - 16, top=34, bottom=size.height - 44)
    x_axis = round_axis(1, len(ranked), ticks=5 if size.is_narrow else 10)
    across, up = x_axis.scale(plot.left + 8, plot.right - 8), axis.scale(plot.bottom, plot.top)
    dots = [
        symbol("dot", across(place), up(value), "s0", title=f"{name}: {metric_value(value)}", radius=3.6)
        for place, (name, value) in enumerate(ranked, start=1)
    ]
    ends = ((1, "start", *ranked[0]), (len(ranked), "end", *ranked[-1]))
    named = [
        _raised(fitting(name, size.width * 0.4), across(place), up(value), anchor, name)
        for place, anchor, name, value in ends
        if math.isfinite(value)
    ]
    line = ""
    if reference and math.isfinite(reference[1]):
        y = up(reference[1])
        line = element("line", x1=plot.left, x2=plot.right, y1=y, y2=y, class_="line reference")
        line += label(f"{reference[0]} {metric_value(reference[1])}", plot.right - 4, y - 6, "end", style="name halo")
    return picture(
        caption,
        size,
        value_grid(plot, axis, y_label),
        bottom_axis(plot, x_axis, "sites, from the worst to the best"),
        line,
        *dots,
        *named,
    )


def _raised(text: str, x: float, y: float, anchor: str, title: str) -> str:
    """Return a name well above its dot, clear of the dots beside it."""
    lead = element("line", x1=x, x2=x, y1=y - 6, y2=y - 16, class_="lead s0")
    return lead + label(text, x, y - 20, anchor, style="name halo", title=title)


def share_matrix(
    caption: Caption,
    row_names: Sequence[str],
    column_names: Sequence[str],
    shares: Sequence[Sequence[float]],
    *,
    size: Size,
) -> str:
    """Return a table of squares, darker for a larger share. shares: rows of columns, each in [0, 1].

    Columns are named where there is room, and else numbered; the height follows from the rows.
    """
    left = min(16 + CHARACTER_WIDTH * max(map(len, row_names)), size.width * 0.46)
    named = not size.is_narrow and len(column_names) <= MOST_NAMED_COLUMNS
    longest = max(len(name) for name in column_names)
    top = 24.0 + (min(longest, 26) * 4.8 if named else 0)
    room = min(longest, 26) * 4.8 if named else 6.0
    cell = min(34.0, (size.width - left - room) / max(1, len(column_names)))
    pitch = min(cell, 20.0)
    parts = [
        _column_name(name, number, left + (number - 0.5) * cell, top - 8, named)
        for number, name in enumerate(column_names, start=1)
        if cell >= 18 or (number - 1) % math.ceil(18 / cell) == 0
    ]
    most = max((share for row in shares for share in row), default=0) or 1.0
    for index, (name, row) in enumerate(zip(row_names, shares, strict=True)):
        y = top + index * pitch
        length = int((left - 10) / CHARACTER_WIDTH)
        shown = name if len(name) <= length else f"{name[: length - 1]}…"
        parts.append(label(shown, left - 8, y + pitch / 2 + 4, "end", style="name", title=name))
        parts += [
            element(
                "rect",
                element("title", words(f"{name}, {column_names[place]}: {share:.0%}")),
                x=left + place * cell,
                y=y,
                width=cell - 1,
                height=pitch - 1,
                # The square root keeps small shares visible.
                fill_opacity=f"{0.08 + 0.92 * math.sqrt(share / most):.2f}" if share else None,
                class_="cell" if share else "cell empty",
            )
            for place, share in enumerate(row)
        ]
    return picture(caption, Size(size.name, size.width, top + pitch * len(row_names) + 6), *parts)


def _column_name(name: str, number: int, x: float, y: float, named: bool) -> str:
    if not named:
        return label(str(number), x, y, "middle")
    text = element("title", words(name)) + words(fitting(name, 26 * CHARACTER_WIDTH))
    return element("text", text, transform=f"translate({x - 2:.1f} {y:.1f}) rotate(-42)", class_="name")
