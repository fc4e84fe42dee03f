"""YAML file and overrides → a checked configuration, or one error with everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from foedus.config import yaml_text
from foedus.config.errors import Problem, nearest, problems_in, shown
from foedus.config.overrides import override
from foedus.config.resolve import resolve
from foedus.config.sections import ParticipantFile, RunConfig, Section
from foedus.config.yaml_text import dotted
from foedus.core.errors import ConfigError

S = TypeVar("S", bound=Section)


def load_config(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Return the run that a YAML file, or a mapping of the same shape, asks for.

    Relative paths start from the YAML file's folder; of a mapping, from the current one.
    overrides: KEY=VALUE, such as "local.learning_rate=1e-3"; see `override`.
    Raises: ConfigError that lists every problem, one a line.
    """
    draft = (
        _Draft(dict(source), "configuration", Path.cwd()) if isinstance(source, Mapping) else _read_run(Path(source))
    )
    values, overridden = override(draft.values, overrides)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [_line(problem, draft, overridden) for problem in problems_in(error)]
        raise ConfigError("\n".join(lines)) from None
    return resolve(config.rooted(draft.root))


def load_section(path: Path, kind: type[S], advice: str = "") -> S:
    """Return what a YAML file of another kind than a run's holds.

    advice: where such a file comes from, for the message if there is none.
    Raises: ConfigError that lists every problem, one a line.
    """
    draft = _read(path, advice)
    try:
        return kind.model_validate(draft.values)
    except ValidationError as error:
        lines = [_line(problem, draft, ()) for problem in problems_in(error, kind)]
        raise ConfigError("\n".join(lines)) from None


def load_participant_file(path: Path) -> ParticipantFile:
    """Return what a participant's own file says.

    Raises: ConfigError that lists every problem, one a line.
    """
    file = load_section(path, ParticipantFile, "`foedus provision` puts one to fill in into every kit")
    return file.rooted(path.parent)


@dataclass(frozen=True)
class _Draft:
    """What a source holds before it is checked. root: where relative paths start. lines: of its keys."""

    values: dict[str, Any]
    source: str
    root: Path
    lines: Mapping[yaml_text.Path, int] = field(default_factory=dict)


def _read_run(path: Path) -> _Draft:
    draft = _read(path, "`foedus init` writes a file to start from")
    return replace(draft, values={"name": run_name(path.stem), **draft.values})


def _read(path: Path, advice: str) -> _Draft:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist{_hint(path, advice)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; name the YAML file in it") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    document = yaml_text.parse(text, str(path))
    if document.value is None:
        raise ConfigError(f"{path} is empty{_after(advice)}")
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path} holds {shown(document.value)}; it must hold keys and values, such as `seed: 0`")
    return _Draft(document.value, str(path), path.resolve().parent, document.lines)


def run_name(stem: str) -> str:
    """Return a file's name as the name of a run.

    >>> run_name("St. Mary's (2)")
    'St.-Mary-s-2'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-._")[:100] or "run"


def _hint(path: Path, advice: str) -> str:
    """Return a hint at the YAML file that was probably meant."""
    near = nearest(path.name, [other.name for other in path.parent.glob("*.y*ml")])
    return f"; did you mean {path.parent / near}?" if near else _after(advice)


def _after(advice: str) -> str:
    return f"; {advice}" if advice else ""


def _line(problem: Problem, draft: _Draft, overridden: Sequence[yaml_text.Path]) -> str:
    path = problem.path
    if any(path[: len(one)] == one or (one[: len(path)] == path and path not in draft.lines) for one in overridden):
        return f"--set {dotted(path)}: {problem.text}"
    known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in draft.lines), None)
    line = f" (line {draft.lines[known]})" if known else ""
    return f"{draft.source}: {dotted(path)}: {problem.text}{line}"
