"""Write the pages of every key from the code's own types: python docs/generate_configuration.py.

docs/configuration.md is of a run's file, docs/federation_files.md of the files of a federation.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from foedus.config import sections
from foedus.config.sections import RunConfig, Section
from foedus.config.structure import Kinds, kinds_of, sections_of
from foedus.config.yaml_text import dump

PAGE = Path(__file__).parent / "configuration.md"
FEDERATION_PAGE = Path(__file__).parent / "federation_files.md"

HEAD = """\
# Every key of the configuration

<!-- Written by docs/generate_configuration.py from the code. Change the descriptions there. -->

One YAML file describes a run. `foedus explain CONFIG` shows what your file amounts to, with all defaults filled
in. `foedus schema` prints a JSON schema; save it as `foedus.schema.json`, name it in the first line of your YAML
file, and editors with a YAML language server check and complete the file:

```yaml
# yaml-language-server: $schema=foedus.schema.json
```

How the file is read:

- Unknown keys are errors, and name the nearest known one.
- A section with a `kind` can be written as one word where its other keys keep their defaults:
  `strategy: fedprox` is `strategy: {kind: fedprox}`.
- Relative paths start from the folder that the YAML file lies in.
- Only `true`, `false`, `null` and plain decimal numbers are more than text: `no` and `07` stay text, and `1e-3` is
  a number.
- `--set KEY=VALUE` puts a value over the file's: `--set local.learning_rate=1e-3`,
  `--set 'strategy={kind: fedprox, mu: 0.1}'`. It can be given several times.

In the tables below, a key without a default must be given.
"""

FEDERATION_HEAD = """\
# Every key of a federation's files

<!-- Written by docs/generate_configuration.py from the code. Change the descriptions there. -->

[Deployment](deployment.md) says what these files are for. Unknown keys are errors that name the nearest known one. In
the tables below, a key without a default must be given.
"""


def page() -> str:
    """Return the whole page."""
    top = _table(RunConfig, RunConfig.model_fields, ())
    return "\n".join([HEAD, "## Top level\n", top, *_sections([RunConfig], ())]).rstrip() + "\n"


def federation_page() -> str:
    """Return the page of federation.yaml and participant.yaml."""
    parts = [
        ("federation.yaml", sections.Federation),
        ("federation.yaml: coordinator", sections.Coordinator),
        ("participant.yaml", sections.ParticipantFile),
        ("participant.yaml: data: files", sections.OwnFiles),
        ("participant.yaml: data: part", sections.Part),
        ("participant.yaml: allow", sections.Allow),
        ("participant.yaml: allow.models", sections.AllowedModel),
        ("participant.yaml: budget", sections.Budget),
        ("participant.yaml: limits", sections.Limits),
    ]
    return "\n".join([FEDERATION_HEAD, *(line for part in parts for line in _part(*part))]).rstrip() + "\n"


def _part(heading: str, owner: type[Section]) -> Iterator[str]:
    fields = {name: field for name, field in owner.model_fields.items() if name != "kind"}
    below = {name: ("section", _default_section(field)) for name, field in fields.items() if sections_of(field)}
    rows = [
        (f"`{name}`", *below[name], _sentence(field.description or _described(sections_of(field)[0])))
        if name in below
        else _row(owner, name, field, ())
        for name, field in fields.items()
    ]
    head = [("key", "value", "default", "what it is"), ("---", "---", "---", "---")]
    yield f"## {heading}\n"
    yield _described(owner)
    yield "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows]) + "\n"


def _sections(owners: Sequence[type[Section]], place: tuple[str, ...]) -> Iterator[str]:
    """Yield what stands below some sections; what two of them share is described once."""
    fields = {name: field for owner in owners for name, field in owner.model_fields.items() if sections_of(field)}
    for name, field in fields.items():
        inner = (*place, name)
        yield f"{'#' * (len(inner) + 1)} {'.'.join(inner)}\n"
        if kinds := kinds_of(field):
            yield f"{_sentence(field.description)} {_choice(field, kinds)}\n"
            yield from _kinds(kinds, inner)
        else:
            (section,) = sections_of(field)
            yield _described(section)
            yield _table(section, section.model_fields, inner)
        yield from _sections(sections_of(field), inner)


def _kinds(kinds: Kinds, place: tuple[str, ...]) -> Iterator[str]:
    """Yield each kind's own keys, after those that all have and most describe alike."""
    first, *others = [section.model_fields for section in kinds.values()]
    everywhere = [name for name in first if name != "kind" and all(name in fields for fields in others)]
    descriptions = {name: Counter(s.model_fields[name].description for s in kinds.values()) for name in everywhere}
    usual = {name: counts.most_common(1)[0] for name, counts in descriptions.items()}
    shared = {name: text for name, (text, count) in usual.items() if count > len(kinds) / 2}
    if shared:
        section = next(s for s in kinds.values() if all(s.model_fields[n].description == t for n, t in shared.items()))
        yield "Keys of every kind, where it says nothing else:\n"
        yield _table(section, {name: section.model_fields[name] for name in shared}, place)
    for kind, section in kinds.items():
        own = {n: f for n, f in section.model_fields.items() if n != "kind" and shared.get(n) != f.description}
        yield f"{'#' * (len(place) + 2)} {'.'.join(place)}: {kind}\n"
        yield _described(section)
        if own:
            yield _table(section, own, place)


def _described(section: type[Section]) -> str:
    return inspect.cleandoc(section.__doc__ or "").replace("*", "\\*") + "\n"


def _choice(field: FieldInfo, kinds: Kinds) -> str:
    default = next((kind for of in field.metadata if (kind := _default_kind(of))), None)
    return f"`kind` is one of {', '.join(f'`{kind}`' for kind in kinds)}" + (
        f"; left out, it is `{default}`." if default else "."
    )


def _default_kind(validator: Any) -> str | None:
    """Return the kind that foedus.config.sections.section.kinds puts in where none is given."""
    expanded = validator.func({}) if hasattr(validator, "func") else {}
    return expanded.get("kind")


def _table(owner: type[Section], fields: Mapping[str, FieldInfo], place: tuple[str, ...]) -> str:
    rows = [_row(owner, name, field, (*place, name)) for name, field in fields.items() if name != "kind"]
    head = [("key", "value", "default", "what it is"), ("---", "---", "---", "---")]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows]) + "\n"


def _row(owner: type[Section], name: str, field: FieldInfo, place: tuple[str, ...]) -> Sequence[str]:
    described = _sentence(field.description)
    if sections_of(field):
        null = " or `null`" if not field.is_required() and field.get_default() is None else ""
        return f"`{name}`", f"[section](#{anchor('.'.join(place))}){null}", _default_section(field), described
    schema = owner.model_json_schema(mode="validation")
    value = _value(schema["properties"][name], schema.get("$defs", {}))
    return f"`{name}`", value, _default(field), described


def _default_section(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    default = field.get_default()
    if default is None:
        return "`null`"
    return f"`{default.kind}`" if kinds_of(field) else "its defaults"


def _default(field: FieldInfo) -> str:
    if "Left out:" in (field.description or ""):
        return "see there"
    if field.is_required():
        return ""
    default = field.get_default()
    value = list(default) if isinstance(default, tuple) else default
    text = dump(value, compact=True).removesuffix("...\n").strip()
    return f"`{text}`"


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema allows."""
    match schema:
        case {"enum": choices}:
            return " or ".join(f"`{choice}`" for choice in choices)
        case {"$ref": _}:
            return "section"
        case {"const": choice}:
            return f"`{choice}`"
        case {"anyOf": options}:
            return " or ".join(dict.fromkeys(_value(option, definitions) for option in options))
        case {"type": "array", "prefixItems": items}:
            return f"list of {len(items)} numbers"
        case {"type": "array", "items": items}:
            return f"list of {_value(items, definitions)}"
        case {"type": "object", "additionalProperties": {"type": "string"}}:
            return "{name: text, …}"
        case {"type": "object"}:
            return "keys and values"
        case {"type": "integer"}:
            return _limited("whole number", schema)
        case {"type": "number"}:
            return _limited("number", schema)
    return {"string": "text", "boolean": "`true` or `false`", "null": "`null`"}[schema["type"]]


def _limited(noun: str, schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema and schema[key] < 2**62]
    return " ".join([noun, " and ".join(limits)]).strip()


def _sentence(text: str | None) -> str:
    return re.sub(r"([|*])", r"\\\1", " ".join((text or "").split()))


def anchor(heading: str) -> str:
    """Return a heading's anchor as GitHub makes it.

    >>> anchor("model.tuning: lora")
    'modeltuning-lora'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    FEDERATION_PAGE.write_text(federation_page(), encoding="utf-8")
