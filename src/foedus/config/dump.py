"""A configuration → YAML that asks for the same run again."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foedus.config import sections, yaml_text
from foedus.config.sections import RunConfig


def dump_config(config: RunConfig) -> str:
    """Return the whole configuration as YAML, defaults included, for a file in the folder `config.root`.

    To save it elsewhere, relocate the configuration first.
    """
    return yaml_text.dump(_kind_first(config.model_dump(mode="json")))


def _kind_first(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {key: _kind_first(item) for key, item in value.items()}
        return {"kind": inner.pop("kind"), **inner} if "kind" in inner else inner
    return value


def relocate(config: RunConfig, folder: Path) -> RunConfig:
    """Return the same run for a file in another folder: relative paths lead from there to where they led before.

    Absolute paths, hub names and package:NAME stay.
    """
    folder = folder.resolve()

    def path(given: str) -> str:
        if Path(given).expanduser().is_absolute():
            return given
        try:
            return Path(os.path.relpath(config.root / given, folder)).as_posix()
        except ValueError:  # another drive
            return str(config.root / given)

    def source(given: sections.Source) -> sections.Source:
        if isinstance(given, Mapping):
            return {name: path(file) for name, file in given.items()}
        if Path(given).expanduser().is_absolute():
            return given
        way = glob.escape(path("."))  # the folders on the way are no patterns
        return Path(os.path.normpath(Path(way) / given)).as_posix()

    def checkpoint(given: str) -> str:
        if config.locate_model(given) == given:
            return given  # a hub name, package:NAME or an absolute path
        moved = path(given)
        return moved if moved.startswith("..") else f"./{moved}"

    def tokenizer(given: sections.Tokenizer) -> sections.Tokenizer:
        return _with(given, path=checkpoint)  # type: ignore[no-any-return]  # the section that was given

    match config.participants:
        case sections.Files() as files:
            participants = _with(files, train=source, validation=source, test=source)
        case sections.Partition() as dealt:
            participants = _with(dealt, path=path, validation=path, test=path)
        case sections.Scenario() as participants:
            pass
    return config.model_copy(
        update={
            "model": _with(config.model, path=checkpoint, tokenizer=tokenizer),
            "participants": participants,
            "strategy": _with(config.strategy, path=path),
            "local": _with(config.local, replay=path),
            "signatures": _with(config.signatures, keys=path),
            "output": _with(config.output, folder=path),
        }
    ).rooted(folder)


def _with(section: Any, **changes: Any) -> Any:
    """Return the section with functions applied to those of its fields that are set."""
    given = {name: getattr(section, name, None) for name in changes}
    return section.model_copy(update={k: changes[k](v) for k, v in given.items() if v is not None})
