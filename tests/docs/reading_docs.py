"""The documentation, cut into what can be checked: fenced blocks, inline code, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. place: page and line, for a test's name."""

    place: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """Return all fenced blocks of these languages."""
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(f"{page.relative_to(ROOT)}:{line}", match[1], match[2])


def inline_code(page: Path) -> list[str]:
    """Return what stands between single backquotes, outside of fenced blocks."""
    return _INLINE.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def links(page: Path) -> list[str]:
    """Return where the page's links lead, those to the web left out."""
    found = _LINK.findall(_INLINE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8"))))
    return [target for target in found if not target.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    plain = [re.sub(r"`|\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def commands() -> list[tuple[str, Sequence[str]]]:
    """Return every shell command that the pages show, with its place, as words."""
    shown = [(block.place, line) for block in blocks("bash", "console", "sh") for line in block.text.splitlines()]
    shown += [(str(page.relative_to(ROOT)), code) for page in PAGES for code in inline_code(page)]
    return [(place, words) for place, line in shown for words in _words(line)]


def _words(line: str) -> Iterator[Sequence[str]]:
    """Yield the commands of a line, as words; those behind a pipe are commands of their own."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an apostrophe: this inline code is no command
        return
    while words:
        end = words.index("|") if "|" in words else len(words)
        yield words[:end]
        words = words[end + 1 :]
