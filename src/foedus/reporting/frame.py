"""What every chart has: a size, a title for those who cannot see it, axes, labels that do not overlap, a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from foedus.reporting.phrasing import shortened
from foedus.reporting.svg import Axis, element, words

CHARACTER_WIDTH = 6.9  # of the 12-unit text in charts, on average and rather too much
LABEL_HEIGHT = 15.0

Symbol = Literal["dot", "ring", "square", "diamond", "line", "column"]


@dataclass(frozen=True)
class Size:
    """A chart's size in user units, which are about pixels. name: the CSS class that shows it."""

    name: str
    width: float
    height: float

    @property
    def is_narrow(self) -> bool:
        """Whether it is for a phone's width."""
        return self.width < 500


WIDE = Size("wide", 800, 340)
NARROW = Size("narrow", 340, 300)
SMALL = Size("small", 350, 225)  # stands beside another on a wide screen, and alone on a phone


@dataclass(frozen=True)
class Caption:
    """What a chart is called, and what it shows in words. key: unique in the page."""

    key: str
    title: str
    description: str


@dataclass(frozen=True)
class Plot:
    """The rectangle inside a chart in which values are drawn."""

    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class KeyEntry:
    """A symbol and what it stands for. style: the CSS class of its colour."""

    symbol: Symbol
    style: str
    text: str


def at_both_sizes(draw: Callable[[Size], str], wide: Size = WIDE, narrow: Size = NARROW) -> str:
    """Return the chart drawn for a wide screen and for a phone; the style sheet shows one of them."""
    return draw(wide) + draw(narrow)


def picture(caption: Caption, size: Size, *parts: str) -> str:
    """Return the chart's svg element."""
    names = f"{caption.key}-{size.name}"
    return element(
        "svg",
        element("title", words(caption.title), id=f"{names}-title"),
        element("desc", words(caption.description), id=f"{names}-desc"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {size.width:g} {size.height:g}",
        role="img",
        aria_labelledby=f"{names}-title {names}-desc",
        class_=f"chart {size.name}",
    )


def label(
    text: str, x: float, y: float, anchor: str = "start", *, style: str = "tick", title: str | None = None
) -> str:
    """Return text at a place; a title is what a pointer resting on it shows."""
    shown = words(text) if title is None else element("title", words(title)) + words(text)
    return element("text", shown, x=x, y=y, text_anchor=anchor, class_=style)


def fitting(text: str, width: float) -> str:
    """Return the text, cut so that it takes about this width at most."""
    return shortened(text, max(4, int(width / CHARACTER_WIDTH)))


def value_grid(plot: Plot, axis: Axis, name: str) -> str:
    """Return horizontal lines at the ticks of the vertical axis, their labels, and the axis' name on top."""
    scale = axis.scale(plot.bottom, plot.top)
    lines = [
        element("line", x1=plot.left, x2=plot.right, y1=scale(tick), y2=scale(tick), class_="grid")
        for tick in axis.ticks
    ]
    labels = [
        label(text, plot.left - 8, scale(tick) + 4, "end") for tick, text in zip(axis.ticks, axis.labels, strict=True)
    ]
    note = f"{name} (logarithmic scale)" if axis.logarithmic else name
    return "".join([*lines, *labels, label(note, 2, plot.top - 14, style="axis")])


def bottom_axis(plot: Plot, axis: Axis, name: str, vertical_grid: bool = False) -> str:
    """Return the horizontal axis with its ticks, labels and name."""
    scale = axis.scale(plot.left, plot.right)
    top = plot.top if vertical_grid else plot.bottom
    marks = [
        element("line", x1=scale(tick), x2=scale(tick), y1=top, y2=plot.bottom + 5, class_="grid")
        for tick in axis.ticks
    ]
    base = element("line", x1=plot.left, x2=plot.right, y1=plot.bottom, y2=plot.bottom, class_="base")
    labels = [
        label(text, scale(tick), plot.bottom + 19, "middle") for tick, text in zip(axis.ticks, axis.labels, strict=True)
    ]
    return "".join([*marks, base, *labels, label(name, plot.right, plot.bottom + 36, "end", style="axis")])


def spread(wanted: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Return places near the wanted ones, at least `gap` apart and inside [top, bottom] if they fit.

    >>> spread([50.0, 52.0, 10.0], gap=15.0, top=0.0, bottom=60.0)
    [45.0, 60.0, 10.0]
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    gap = min(gap, (bottom - top) / max(1, len(wanted) - 1))
    places = [0.0] * len(wanted)
    lowest = -math.inf
    for index in order:
        lowest = max(wanted[index], lowest + gap, top)
        places[index] = lowest
    highest = bottom
    for index in reversed(order):
        places[index] = min(places[index], highest)
        highest = places[index] - gap
    return places


def symbol(kind: Symbol, x: float, y: float, style: str, *, title: str | None = None, radius: float = 5) -> str:
    """Return a mark centred at a place."""
    inside = [element("title", words(title))] if title else []
    colour = f"mark {style}"
    match kind:
        case "dot" | "ring":
            ring = " hollow" if kind == "ring" else ""
            return element("circle", *inside, cx=x, cy=y, r=radius, class_=colour + ring)
        case "square" | "column":
            return element(
                "rect", *inside, x=x - radius, y=y - radius, width=2 * radius, height=2 * radius, class_=colour
            )
        case "diamond":
            reach = radius * 1.3
            points = f"{x:.1f},{y - reach:.1f} {x + reach:.1f},{y:.1f} {x:.1f},{y + reach:.1f} {x - reach:.1f},{y:.1f}"
            return element("polygon", *inside, points=points, class_=colour)
        case "line":
            return element("line", *inside, x1=x - 9, x2=x + 9, y1=y, y2=y, class_=f"line {style}")


def key_row(entries: Sequence[KeyEntry], width: float, x: float = 10, y: float = 12) -> tuple[str, float]:
    """Return the key, wrapped to the width, and the height that it takes."""
    parts: list[str] = []
    at = x
    for entry in entries:
        wanted = 34 + len(entry.text) * CHARACTER_WIDTH
        if at > x and at + wanted > width:
            at, y = x, y + 20
        parts += [symbol(entry.symbol, at, y, entry.style), label(entry.text, at + 14, y + 4, style="name")]
        at += wanted
    return "".join(parts), y + 10
