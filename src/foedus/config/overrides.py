"""`--set local.learning_rate=1e-3`: single values put over those of the YAML file."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from foedus.config.errors import shown
from foedus.config.structure import field_at, kinds_of
from foedus.config.yaml_text import Path, dotted, parse
from foedus.core.errors import ConfigError


def override(values: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[Path]]:
    """Return the values with each KEY=VALUE put in, and the paths that were set.

    KEY is a path with dots, in which a number is a position in a list; sections on the way are made.
    VALUE is read as YAML: 3, true, [a, b], {kind: lora, rank: 4}. The section `strategy: fedprox` turns
    into {kind: fedprox} where one of its keys is set.
    Raises: ConfigError if one is not KEY=VALUE, or leads into a plain value. Whether a key exists is
        seen later, with the rest of the file.

    >>> override({"strategy": "fedprox"}, ["strategy.mu=0.1"])
    ({'strategy': {'kind': 'fedprox', 'mu': 0.1}}, [('strategy', 'mu')])
    """
    result = copy.deepcopy(dict(values))
    paths = []
    for text in overrides:
        key, equals, value = text.partition("=")
        names = tuple(key.strip().split("."))
        if not equals or not all(names):
            raise ConfigError(f"--set {text}: write it as KEY=VALUE, such as local.learning_rate=1e-3")
        paths.append(_put(result, names, parse(value, f"--set {text}").value))
    return result, paths


def _put(values: dict[str, Any], names: tuple[str, ...], value: object) -> Path:
    container: dict[str, Any] | list[Any] = values
    path: Path = ()
    for name in names[:-1]:
        key = _key(container, name, path)
        path = (*path, key)
        container[key] = _opened(_get(container, key), path)  # type: ignore[index] # key fits the container
        container = container[key]  # type: ignore[index]
    key = _key(container, names[-1], path)
    container[key] = value  # type: ignore[index]
    return (*path, key)


def _get(container: dict[str, Any] | list[Any], key: str | int) -> Any:
    return container.get(str(key)) if isinstance(container, dict) else container[int(key)]


def _key(container: dict[str, Any] | list[Any], name: str, path: Path) -> str | int:
    """Return the name as a key of a mapping, or as a position in a list."""
    if isinstance(container, dict):
        return name
    if name.isascii() and name.isdigit() and int(name) < len(container):
        return int(name)
    raise ConfigError(
        f"--set {dotted((*path, name))}: {dotted(path)} is a list; its entries are 0 to {len(container) - 1}"
    )


def _opened(value: object, path: Path) -> dict[str, Any] | list[Any]:
    """Return what stands at a path as something that a key can be set in."""
    if value is None:
        return {}
    if isinstance(value, dict | list):
        return value
    field = field_at(path)
    if isinstance(value, str) and field is not None and kinds_of(field):
        return {"kind": value}
    raise ConfigError(f"--set {dotted(path)}: it is {shown(value)}, and has no keys to set")
