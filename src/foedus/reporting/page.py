"""The pieces of a page, and how they become one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foedus.reporting.frame import Caption
from foedus.reporting.phrasing import printable


@dataclass(frozen=True)
class Table:
    """Text in rows; the first column names its row. worded: the other columns that hold words, not figures."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    worded: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A chart with the same values as a table. svg: markup. note: a sentence below it.

    table: None if one beside the chart holds them. half: it leaves room for another one beside it.
    narrow_note: a sentence that only a phone's version of the chart needs.
    """

    caption: Caption
    svg: str
    table: Table | None
    note: str = ""
    narrow_note: str = ""
    half: bool = False


@dataclass(frozen=True)
class KeyFigure:
    """One large number with its name and a remark."""

    name: str
    value: str
    remark: str = ""


def render(template: str, **content: Any) -> str:
    """Return a template of this package, filled; all text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("foedus.reporting"),
        autoescape=select_autoescape(("html", "html.j2", "css")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_controls,
    )
    environment.filters["markup"] = Markup  # for what svg.py built, which escapes what it is given
    return environment.get_template(template).render(**content)


def _without_controls(value: object) -> object:
    if type(value) is not str:  # markup is clean already
        return value
    return "\n".join(printable(line) for line in value.split("\n"))


def write_whole(path: Path, text: str) -> Path:
    """Write a file that is there whole or as it was, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8", errors="replace")
    return draft.replace(path)
