"""A page as its tags and texts, for tests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})


@dataclass
class Page:
    """Every start tag with its attributes, the text outside style, and the ids in the order of the page."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.page.text += data + " "


def read_page(html: str) -> Page:
    """Return the page; fails if tags are not nested properly."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    reader.page.text = " ".join(reader.page.text.split())
    return reader.page


def charts(html: str) -> list[ElementTree.Element]:
    """Return every chart, parsed as XML."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]  # noqa: S314 - our own


def assert_sound(html: str) -> Page:
    """Check what must hold for every page, and return it."""
    page = read_page(html)
    ids = [value for _, attributes in page.tags if (value := attributes.get("id")) is not None]
    assert len(ids) == len(set(ids)), "an id occurs twice"
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base", "form", "foreignobject"}
        assert not any(name.startswith("on") for name in attributes), f"{tag} has an event handler"
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        for reference in (attributes.get("aria-labelledby") or "").split():
            assert reference in ids
    assert {attributes["href"] for attributes in page.all("a")} <= {f"#{name}" for name in ids}
    assert "@import" not in html
    assert "url(" not in html
    for chart in charts(html):
        assert {"title", "desc"} <= {child.tag.rpartition("}")[2] for child in chart}
        for element in chart.iter():
            for name, value in element.attrib.items():
                assert not re.search(r"\b(nan|inf)\b", value) or name in {"class", "id"}, f"{name}={value}"
    for table in page.all("th"):
        assert table.get("scope") in {"row", "col"}
    assert len(page.all("caption")) == len(page.all("table"))
    return page
