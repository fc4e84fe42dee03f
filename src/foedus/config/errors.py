"""What pydantic finds wrong → lines that a user of the YAML file understands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from foedus.config.sections import RunConfig, Section
from foedus.config.structure import Kinds, kinds_of, places_of, sections_of
from foedus.config.yaml_text import Path, dotted


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. path: where, as in the YAML file."""

    path: Path
    text: str


def problems_in(error: ValidationError, top: type[Section] = RunConfig) -> list[Problem]:
    """Return what is wrong, each thing once, in the order of the file's sections. top: what the file holds."""
    errors = error.errors(include_url=False)
    found = [_problem(details, top) for details in errors if not _is_consequence(details, errors)]
    meant = {(*problem.path[:-1], suggestion) for problem in found if (suggestion := _suggestion(problem))}
    # A misspelt key is reported once, not as missing too.
    return [problem for problem in found if not (problem.path in meant and problem.text.startswith("is missing"))]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like this one, or None if none is.

    >>> nearest("fedprx", ["fedavg", "fedprox"])
    'fedprox'
    """
    by_lower = {other.lower(): other for other in known}
    close = get_close_matches(name.lower().replace("-", "_"), by_lower, n=1)
    return by_lower[close[0]] if close else None


def _is_consequence(details: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Return whether another error tells the reason: of a default that was not computed, of an entry not counted."""
    place = details["loc"]
    deeper = any(other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in errors)
    return details["type"] == "default_factory_not_called" or (details["type"] == "too_short" and deeper)


@dataclass(frozen=True)
class _Place:
    """Where a problem is: its path, the section around it, and the kinds to choose from, there and around."""

    path: Path
    section: type[Section] | None
    kinds: Kinds
    kinds_around: Kinds
    description: str
    top: type[Section]


def _place(location: tuple[int | str, ...], top: type[Section]) -> _Place:
    """Return the YAML path of pydantic's location, which names the chosen kinds too."""
    path: list[int | str] = []
    section: type[Section] | None = top
    owner: type[Section] | None = section
    kinds: Kinds = {}
    around: Kinds = {}
    description = ""
    parts = iter(location)
    for part in parts:
        path.append(part)
        owner, around, kinds, description = section, kinds, {}, ""
        field = section.model_fields.get(str(part)) if section else None
        if field is None:
            section = None
            continue
        kinds, description = kinds_of(field), field.description or ""
        inner = sections_of(field)
        section = kinds.get(str(next(parts, ""))) if field.discriminator else next(iter(inner), None)
    return _Place(tuple(path), owner, kinds, around, description, top)


def _problem(details: ErrorDetails, top: type[Section]) -> Problem:
    place = _place(details["loc"], top)
    match details["type"]:
        case "extra_forbidden":
            return Problem(place.path, _unknown_key(place))
        case "union_tag_invalid":
            return Problem((*place.path, "kind"), _unknown_value(details["input"]["kind"], list(place.kinds)))
        case "union_tag_not_found":
            return Problem((*place.path, "kind"), f"is missing; choose {either(place.kinds)}")
        case "missing":
            return _missing(place, details["input"])
        case "literal_error":
            allowed = re.findall(r"'([^']*)'|\b([0-9]+)\b", details["ctx"]["expected"])
            return Problem(place.path, _unknown_value(details["input"], [text or number for text, number in allowed]))
        case "value_error":
            return Problem(place.path, str(details["ctx"]["error"]))
        case kind:
            rule = _RULES.get(kind, _always("cannot be used here"))
            return Problem(place.path, f"is {shown(details['input'])}; {rule(details.get('ctx', {}))}{_or_kind(place)}")


_Rule = Callable[[Mapping[str, Any]], str]


def _always(text: str) -> _Rule:
    return lambda _: text


_keys_and_values = _always("must hold keys and values")
_RULES: Mapping[str, _Rule] = {
    "int_type": _always("must be a whole number"),
    "float_type": _always("must be a number"),
    "finite_number": _always("must be a finite number"),
    "bool_type": _always("must be true or false"),
    "bool_parsing": _always("must be true or false"),
    "string_type": _always("must be text"),
    "string_too_short": _always("must not be empty"),
    "string_too_long": lambda limits: f"must have at most {limits['max_length']} characters",
    "tuple_type": _always("must be a list"),
    "too_short": lambda limits: f"needs {limits['min_length']} entries or more",
    "too_long": lambda limits: f"takes {limits['max_length']} entries or fewer",
    "greater_than": lambda limits: f"must be greater than {_number(limits['gt'])}",
    "greater_than_equal": lambda limits: f"must be at least {_number(limits['ge'])}",
    "less_than": lambda limits: f"must be less than {_number(limits['lt'])}",
    "less_than_equal": lambda limits: f"must be at most {_number(limits['le'])}",
    "dict_type": _keys_and_values,
    "mapping_type": _keys_and_values,
    "model_type": _keys_and_values,
    "model_attributes_type": _keys_and_values,
}


def _or_kind(place: _Place) -> str:
    return f", or name a kind: {', '.join(place.kinds)}" if place.kinds else ""


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _missing(place: _Place, given: object) -> Problem:
    if place.path and isinstance(place.path[-1], int):
        return Problem(place.path[:-1], f"is {shown(given)}; needs {place.path[-1] + 1} entries or more")
    meaning = place.description.replace("\n", " ").split(". ")[0].rstrip(".")
    kinds = f"; choose {either(place.kinds)}" if place.kinds else ""
    return Problem(place.path, f"is missing: {meaning[:1].lower()}{meaning[1:]}{kinds}")


def _unknown_key(place: _Place) -> str:
    key = str(place.path[-1])
    known = [] if place.section is None else list(place.section.model_fields)
    if owners := [kind for kind, section in place.kinds_around.items() if key in section.model_fields]:
        return f"belongs to {'kinds' if len(owners) > 1 else 'kind'} {' and '.join(owners)}, not to {_kind(place)}"
    if near := nearest(key, known):
        return f"unknown key; did you mean '{near}'?"
    if elsewhere := list(places_of(key, place.top)):
        return f"unknown key; it belongs to {either(dotted(path[:-1]) or 'the top level' for path in elsewhere)}"
    others = [name for name in known if name != "kind"]
    return f"unknown key; {'known are ' + ', '.join(others) if others else 'kind ' + _kind(place) + ' has no keys'}"


def _kind(place: _Place) -> str:
    return str(place.section.model_fields["kind"].default) if place.section else ""


def _suggestion(problem: Problem) -> str | None:
    match = re.fullmatch(r"unknown key; did you mean '(.+)'\?", problem.text)
    return match[1] if match else None


def unknown_name(name: object, known: Iterable[str]) -> str:
    """Return the text for a name that is none of the known ones."""
    known = list(known)
    near = nearest(str(name), known)
    return f"unknown '{name}'; " + (f"did you mean '{near}'?" if near else f"choose {either(known)}")


def _unknown_value(value: object, allowed: Sequence[str]) -> str:
    return unknown_name(value, allowed) if isinstance(value, str) else f"is {shown(value)}; choose {either(allowed)}"


def either(names: Iterable[str]) -> str:
    """Return names in a sentence.

    >>> either(["lora", "full", "head"])
    'lora, full or head'
    """
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def shown(value: object) -> str:
    """Return a value of the YAML file as a message shows it: short, and in YAML's words."""
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case Mapping():
            return "a group of keys"
        case list() | tuple():
            return f"a list of {len(value)}"
        case str():
            return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}…'"
    return str(value)
