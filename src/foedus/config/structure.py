"""Which keys and kinds may stand where, read off the sections themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import get_args

from pydantic.fields import FieldInfo

from foedus.config.sections import RunConfig, Section
from foedus.config.yaml_text import Path

Kinds = Mapping[str, type[Section]]


def kinds_of(field: FieldInfo) -> Kinds:
    """Return the sections that a field chooses from, by kind; none if it gives no choice.

    >>> sorted(kinds_of(RunConfig.model_fields["model"]))
    ['architecture', 'checkpoint']
    """
    sections = get_args(field.annotation) if field.discriminator else [field.annotation]
    return {
        section.model_fields["kind"].default: section
        for section in sections
        if isinstance(section, type) and issubclass(section, Section) and "kind" in section.model_fields
    }


def sections_of(field: FieldInfo) -> Sequence[type[Section]]:
    """Return the sections that may stand in a field, beside null where it allows that; none for a plain value."""
    if kinds := kinds_of(field):
        return list(kinds.values())
    options = get_args(field.annotation) if isinstance(field.annotation, UnionType) else [field.annotation]
    return [option for option in options if isinstance(option, type) and issubclass(option, Section)]


def field_at(path: Path) -> FieldInfo | None:
    """Return the field at a path, in the first section that has it; None if there is none.

    >>> field_at(("local", "optimizer", "momentum")).default
    0.0
    """
    sections: Sequence[type[Section]] = [RunConfig]
    field = None
    for part in path:
        field = next((section.model_fields[part] for section in sections if part in section.model_fields), None)
        if field is None:
            return None
        sections = sections_of(field)
    return field


def places_of(key: str, section: type[Section] = RunConfig, above: Path = ()) -> Iterator[Path]:
    """Yield every path that ends in the key.

    >>> list(places_of("batch_size"))
    [('local', 'batch_size'), ('evaluation', 'batch_size')]
    """
    for name, field in section.model_fields.items():
        if name == key:
            yield (*above, name)
        found = [place for inner in sections_of(field) for place in places_of(key, inner, (*above, name))]
        yield from dict.fromkeys(found)
