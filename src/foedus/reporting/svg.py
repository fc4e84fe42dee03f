"""SVG markup, and the scales that place values on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from foedus.reporting.phrasing import printable


def element(tag: str, *children: str, **attributes: str | float | None) -> str:
    """Return one element; attribute names have `_` for `-`, and `class_` for `class`.

    Children are markup and stay as they are; values are escaped.

    >>> element("text", "a", x=1.25, text_anchor="end", class_="tick")
    '<text x="1.2" text-anchor="end" class="tick">a</text>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{written}>{''.join(children)}</{tag}>" if children else f"<{tag}{written}/>"


def words(content: str) -> str:
    """Return text as it may stand between tags."""
    return escape(printable(content), quote=False)


def _value(value: str | float) -> str:
    return escape(printable(value)) if isinstance(value, str) else coordinate(value)


def coordinate(value: float) -> str:
    """Return a length in user units with at most one decimal.

    >>> coordinate(12.0), coordinate(-0.04), coordinate(3.26)
    ('12', '0', '3.3')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Return path data through the points; a point that is not finite leaves a gap."""
    commands: list[str] = []
    pen_is_down = False
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            commands.append(f"{'L' if pen_is_down else 'M'}{coordinate(x)} {coordinate(y)}")
            pen_is_down = True
        else:
            pen_is_down = False
    return "".join(commands)


@dataclass(frozen=True)
class Scale:
    """Places values from [low, high] on the line from start to end, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; NaN for one that is not finite."""
        if not math.isfinite(value):
            return math.nan
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = (math.log10(max(number, self.low)) for number in (value, low, high))
        return self.start + (self.end - self.start) * (value - low) / (high - low)


@dataclass(frozen=True)
class Axis:
    """A scale's range with the ticks on it and their labels."""

    low: float
    high: float
    ticks: Sequence[float]
    labels: Sequence[str]
    logarithmic: bool = False

    def scale(self, start: float, end: float) -> Scale:
        """Return the scale of this axis on the line from start to end."""
        return Scale(self.low, self.high, start, end, self.logarithmic)


def value_axis(values: Sequence[float], from_zero: bool = False, ticks: int = 5) -> Axis:
    """Return an axis that holds all finite values, with round numbers as ticks.

    Values of [0, 1] get an axis within it. Positive ones over more than 1.5 decades, up to above 5, such as
    a perplexity, get a logarithmic one.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if not from_zero and low > 0 and high > 5 and high / low > 30:
        return _logarithmic_axis(low, high, ticks)
    if from_zero:
        low = min(low, 0.0)
    if high - low < 1e-9 * max(abs(high), abs(low), 1e-9):
        margin = abs(high) * 0.05 or 0.5
        low, high = (low if from_zero else low - margin), high + margin
    step = _nice_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if max(finite) <= 1 and min(finite) >= 0:
        last = min(last, round(1 / step)) if abs(round(1 / step) * step - 1) < 1e-9 else last
        first = max(first, 0)
    marks = [number * step for number in range(first, last + 1)]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return Axis(marks[0], marks[-1], marks, [f"{mark:,.{decimals}f}" for mark in marks])


def round_axis(first: int, last: int, ticks: int = 8) -> Axis:
    """Return an axis over round numbers, with ticks at whole ones only."""
    if first == last:
        return Axis(first - 1, last + 1, [first], [str(first)])
    step = max(1, round(_nice_step((last - first) / ticks)))
    marks = [number for number in range(first, last + 1) if number % step == 0]
    return Axis(first, last, marks, [f"{mark:,}" for mark in marks])


def _logarithmic_axis(low: float, high: float, ticks: int) -> Axis:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [digit * 10.0**power for power in powers for digit in ((1, 2, 5) if len(powers) <= 3 else (1,))]
    inside = [mark for mark in marks if low * 0.999 <= mark <= high * 1.001]
    low, high = min([low, *inside]), max([high, *inside])
    spread = inside[:: max(1, math.ceil(len(inside) / (ticks + 2)))]
    return Axis(low, high, spread, [f"{mark:,.10g}" for mark in spread], logarithmic=True)


def _nice_step(least: float) -> float:
    """Return the least of 1, 2 or 5 times a power of ten that is not below `least`."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next((digit * power for digit in (1, 2, 5) if digit * power >= least * (1 - 1e-9)), 10 * power)
