"""Charts over sites or ways of training: marks in rows, ranked dots, and a matrix. Pure functions that return SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foedus.reporting.frame import (
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
    """A named row of marks; the first two are joined if `joined`."""

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
    pitch = 40.0 if size.is_narrow else 28.0
    longest = max(len(row.name) for row in rows)
    left = 12.0 if size.is_narrow else min(28 + 6.6 * longest, 0.32 * size.width)
    plot = Plot(left=left, right=size.width - 62, top=key_height + 8, bottom=key_height + 16 + pitch * len(rows))
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
    for mark in finite:
        told = f"{row.name}, {mark.meaning}: {metric_value(mark.value)}"
        if mark.deviation > 0:
            told += f" ± {metric_value(mark.deviation)}"
            low, high = across(mark.value - mark.deviation), across(mark.value + mark.deviation)
            parts.append(element("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {mark.style}"))
        parts.append(symbol(mark.symbol, across(mark.value), y, mark.style, title=told))
    last = row.marks[-1 if row.joined else 0] if row.marks else None
    if last:
        parts.append(label(metric_value(last.value), plot.right + 10, y + 4, style="value"))
    return element("g", *parts, class_="series")


def ranked_dots(
    caption: Caption,
    ranked: Sequence[tuple[str, float]],
    *,
    y_label: str,
    size: Size,
    reference: tuple[str, float] | None = None,
) -> str:
    """Return one dot a site in the order given, worst first; the first three and the last are named."""
    axis = value_axis([value for _, value in ranked] + ([reference[1]] if reference else []))
    left = 16 + 6.6 * max(len(text) for text in axis.labels)
    plot = Plot(left=left, right=size.width - 16, top=34, bottom=size.height - 44)
    x_axis = round_axis(1, len(ranked), ticks=5 if size.is_narrow else 10)
    across, up = x_axis.scale(plot.left + 8, plot.right - 8), axis.scale(plot.bottom, plot.top)
    dots = [
        symbol("dot", across(place), up(value), "s0", title=f"{name}: {metric_value(value)}", radius=3.6)
        for place, (name, value) in enumerate(ranked, start=1)
    ]
    named = [
        label(fitting(name, size.width * 0.4), across(place) + 9, up(value) + 4, style="name halo", title=name)
        for place, (name, value) in list(enumerate(ranked, start=1))[:1]
    ]
    if len(ranked) > 1:
        name, value = ranked[-1]
        shown = fitting(name, size.width * 0.4)
        named.append(label(shown, across(len(ranked)) - 9, up(value) + 4, "end", style="name halo", title=name))
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


def share_matrix(
    caption: Caption,
    row_names: Sequence[str],
    column_names: Sequence[str],
    shares: Sequence[Sequence[float]],
    *,
    size: Size,
) -> str:
    """Return a table of squares, darker for a larger share. shares: rows of columns, each in [0, 1].

    Columns are named by numbers, which the caller explains; the height follows from the rows.
    """
    left = min(16 + 6.6 * max(map(len, row_names)), size.width * 0.46)
    cell = min(34.0, (size.width - left - 6) / max(1, len(column_names)))
    pitch = min(cell, 20.0)
    top = 24.0
    parts = [
        label(name, left + (index + 0.5) * cell, top - 8, "middle")
        for index, name in enumerate(column_names)
        if cell >= 18 or index % math.ceil(18 / cell) == 0
    ]
    most = max((share for row in shares for share in row), default=0) or 1.0
    for index, (name, row) in enumerate(zip(row_names, shares, strict=True)):
        y = top + index * pitch
        shown = fitting(name, left - 10)
        parts.append(label(shown, left - 8, y + pitch / 2 + 4, "end", style="name", title=name))
        parts += [
            element(
                "rect",
                element("title", words(f"{name}, site {column_names[place]}: {share:.0%}")),
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
