"""YAML as people expect it: YAML 1.2's plain values, no key twice, and every key's line.

PyYAML follows YAML 1.1, where `no` is false, `1e-3` is text, 012 is ten and 1:30 is ninety. Here only
true, false, null and plain decimal numbers are more than text, and a number keeps its leading zeros by being text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from foedus.core.errors import ConfigError

Path = tuple[str | int, ...]  # where a value stands: keys, and positions in lists

_PREFIX = "tag:yaml.org,2002:"
_PLAIN_VALUES = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?((0|[1-9][0-9]*)?\.[0-9]+|(0|[1-9][0-9]*)\.?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute, filled below


class _Dumper(yaml.SafeDumper):
    """It quotes what YAML 1.1 or 1.2 would take for something else than text."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists below their key."""
        super().increase_indent(flow, False)

    def represent_str(self, data: str) -> ScalarNode:
        """Escape Unicode's own line breaks, which PyYAML else writes as they are and reads back as spaces."""
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(_PREFIX + "str", data, style=style)

    def represent_list(self, data: Iterable[Any]) -> SequenceNode:
        """Put a list of plain values on one line."""
        items = list(data)
        plain = not any(isinstance(item, dict | list) for item in items)
        return self.represent_sequence(_PREFIX + "seq", items, flow_style=plain)


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_representer(list, _Dumper.represent_list)


for _name, _pattern, _first in _PLAIN_VALUES:
    _regex = re.compile(f"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(_PREFIX + _name, _regex, _first)
    _Dumper.add_implicit_resolver(_PREFIX + _name, _regex, _first)


@dataclass(frozen=True)
class Document:
    """A parsed text. lines: where each key and list entry stands, counted from 1."""

    value: Any
    lines: Mapping[Path, int]


def parse(text: str, source: str) -> Document:
    """Return a text's value; all keys are strings.

    source: what errors call the text.
    Raises: ConfigError if it is not YAML, or has a key twice.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {_syntax_problem(error)}") from error
    lines: dict[Path, int] = {}
    problems: list[str] = []
    value = None if node is None else _Reader(lines, problems).read(node, ())
    if problems:
        raise ConfigError("\n".join(f"{source}: {problem}" for problem in problems))
    return Document(value, lines)


def dump(value: Any, *, compact: bool = False) -> str:
    """Return a value as YAML that `parse` reads back; `compact` puts the innermost parts on one line."""
    style = None if compact else False
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=style)


@dataclass(frozen=True)
class _Reader:
    """Turns nodes into values, and notes lines and problems on the way."""

    lines: dict[Path, int]
    problems: list[str]

    def read(self, node: Node, path: Path, above: tuple[Node, ...] = ()) -> Any:
        if any(node is other for other in above):
            self._note(node, "this part contains itself")
            return None
        match node:
            case ScalarNode():
                return self._scalar(node)
            case SequenceNode():
                return [self._entry(item, (*path, i), (*above, node)) for i, item in enumerate(node.value)]
            case MappingNode():
                return self._mapping(node, path, (*above, node))
        return None

    def _entry(self, node: Node, path: Path, above: tuple[Node, ...]) -> Any:
        self.lines[path] = node.start_mark.line + 1
        return self.read(node, path, above)

    def _mapping(self, node: MappingNode, path: Path, above: tuple[Node, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._note(key_node, "a key must be a single word")
                continue
            key, place = str(key_node.value), (*path, str(key_node.value))
            if key in result:
                self._note(
                    key_node, f"'{dotted(place)}' stands here again; it is first given in line {self.lines[place]}"
                )
                continue
            self.lines[place] = key_node.start_mark.line + 1
            result[key] = self.read(value_node, place, above)
        return result

    def _scalar(self, node: ScalarNode) -> Any:
        text = str(node.value)
        match node.tag.removeprefix(_PREFIX):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text)
            case "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        self._note(node, f"tags such as '{node.tag}' are not allowed")
        return None

    def _note(self, node: Node, problem: str) -> None:
        self.problems.append(f"line {node.start_mark.line + 1}: {problem}")


def dotted(path: Path) -> str:
    """Return a path as people write it.

    >>> dotted(("participants", "into", "sizes", 0))
    'participants.into.sizes.0'
    """
    return ".".join(str(part) for part in path)


def _syntax_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "it holds characters that YAML does not allow; save it as UTF-8 text"
    problem = str(getattr(error, "problem", None) or "it cannot be read")
    hint = next((hint for sign, hint in _HINTS.items() if sign in f"{getattr(error, 'context', '')} {problem}"), "")
    return f"line {mark.line + 1}: this is not valid YAML: {problem}{hint and '; ' + hint}"


_HINTS = {
    r"'\t'": "indent with spaces",
    "scanning an alias": "put quotes around a value that begins with *",
    "undefined alias": "put quotes around a value that begins with *",
    "scanning an anchor": "put quotes around a value that begins with &",
    "cannot start any token": "put quotes around the value",
    "mapping values are not allowed": "put quotes around a value that holds a colon",
    "expected <block end>": "check that the lines of one part are indented alike",
    "expected a single document": "remove the line ---",
}
