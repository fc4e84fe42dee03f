"""Numbers and names as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_METRIC_NAMES = {"macro_f1": "macro F1", "f1": "F1", "micro_f1": "micro F1"}


def metric_name(key: str) -> str:
    """Return a metric's name in words.

    >>> metric_name("bits_per_byte"), metric_name("macro_f1")
    ('bits per byte', 'macro F1')
    """
    return _METRIC_NAMES.get(key, printable(key).replace("_", " "))


def metric_value(value: float) -> str:
    """Return a metric to about three significant digits, with what is not finite named.

    >>> metric_value(0.8125), metric_value(31.254), metric_value(50257.3), metric_value(4.2e-5)
    ('0.812', '31.25', '50,257', '4.2e-05')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    size = abs(value)
    if size and size < 0.001:
        return f"{value:.2g}"
    decimals = next((places for limit, places in ((10, 3), (100, 2), (1000, 1)) if size < limit), 0)
    return f"{value:,.{decimals}f}"


def signed(value: float) -> str:
    """Return a difference with its sign.

    >>> signed(0.0312), signed(-2.5), signed(0.0)
    ('+0.031', '−2.500', '0.000')
    """
    text = metric_value(abs(value))
    if math.isnan(value) or float(text.replace(",", "") if math.isfinite(value) else 1) == 0:
        return text
    return ("+" if value > 0 else "\N{MINUS SIGN}") + text


def byte_unit(largest: float) -> tuple[float, str]:
    """Return the unit, as a divisor and a name, in which a size of this many bytes reads well."""
    for divisor, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if largest >= divisor:
            return divisor, name
    return 1.0, "bytes"


def byte_size(count: float) -> str:
    """Return a size in decimal units.

    >>> byte_size(812), byte_size(328_792), byte_size(26_303_360)
    ('812 bytes', '329 kB', '26.3 MB')
    """
    if not math.isfinite(count):
        return "unknown"
    divisor, name = byte_unit(count)
    value = count / divisor
    decimals = 0 if divisor == 1 or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f} {name}"


def amount(count: float) -> str:
    """Return a large number as people say it.

    >>> amount(512), amount(48_000), amount(3_686_400), amount(1_200_000_000)
    ('512', '48,000', '3.69 million', '1.2 billion')
    """
    for divisor, word in ((1e9, "billion"), (1e6, "million")):
        if count >= divisor:
            return f"{count / divisor:.3g} {word}"
    return f"{count:,.0f}"


def times_fewer(ratio: float) -> str:
    """Return how many times one number goes into another.

    >>> times_fewer(388.41), times_fewer(49.99), times_fewer(0.5)
    ('388', '50.0', '0.50')
    """
    return f"{ratio:,.{0 if ratio >= 100 else 1 if ratio >= 10 else 2}f}"


def time_unit(largest: float) -> tuple[float, str]:
    """Return the unit, as a divisor and a name, in which this many seconds read well."""
    for divisor, name in ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")):
        if largest >= 2 * divisor:
            return divisor, name
    return (1.0, "seconds") if largest >= 0.2 else (0.001, "milliseconds")


def duration(seconds: float) -> str:
    """Return a span of time in its two largest units.

    >>> duration(0.034), duration(6.54), duration(187), duration(9000)
    ('34 ms', '6.5 s', '3 min 7 s', '2 h 30 min')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def roughly(seconds: float) -> str:
    """Return a span of time that is only estimated.

    >>> roughly(4.4), roughly(95), roughly(5000)
    ('4 s', '2 min', '1 h 23 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return duration(60 * max(1, round(seconds / 60)))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "site"), counted(1200, "test row")
    ('1 site', '1,200 test rows')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def round_ranges(rounds: Iterable[int]) -> str:
    """Return round numbers with runs of them shortened.

    >>> round_ranges([9, 3, 5, 6, 7])
    '3, 5–7, 9'
    """
    spans: list[list[int]] = []
    for number in sorted(set(rounds)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}\N{EN DASH}{last}" for first, last in spans)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names as a list in a sentence, with the rest of a long one counted.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=2)
    ('a, b and c', 'a, b and 1 more')
    """
    shown = list(names[:most])
    if rest := len(names) - len(shown):
        shown.append(f"{rest:,} more")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def printable(text: str) -> str:
    """Return the text with what could steer a terminal or break a document replaced by U+FFFD."""
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "\ufffd" for character in text
    )


def shortened(text: str, length: int) -> str:
    """Return the text, cut in its middle to at most `length` characters, since names often differ at their ends.

    >>> shortened("university_hospital_of_north_7", 15)
    'univers…north_7'
    """
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"
