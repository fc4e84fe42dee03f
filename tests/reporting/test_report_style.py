import re
from itertools import product
from pathlib import Path

import pytest

import foedus.reporting

STYLE = (Path(foedus.reporting.__file__).parent / "templates" / "style.css").read_text()


def theme(name: str) -> dict[str, str]:
    """Return the colours of the light, the dark or the printed page."""
    start = {"light": "", "dark": "@media (prefers-color-scheme: dark)", "print": "@media print"}[name]
    block = STYLE[STYLE.index(start) :]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block[: block.index("}")]))


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_text_and_lines_have_the_contrast_that_wcag_asks_for(name: str) -> None:
    colours = theme(name)
    for ink, ground in product(("ink", "soft", "accent"), ("paper", "card", "tint")):
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["warn-ink"], colours["warn"]) >= 4.5
    for number in range(8):
        assert contrast(colours[f"s{number}"], colours["card"]) >= 3, number


def test_focus_is_visible_and_print_and_narrow_layouts_exist() -> None:
    assert ":focus-visible { outline: 3px" in STYLE
    assert "@media print" in STYLE
    assert "@media (max-width: 719px)" in STYLE
