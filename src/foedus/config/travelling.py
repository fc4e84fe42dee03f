"""What of a run may travel to another machine to be played there: nothing that leads to a place on either.

The coordinator reads no file that a researcher names. A model is named by an installed package or on the hub, and each
organisation's own file says where its rows are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from foedus.config import sections
from foedus.config.sections import RunConfig
from foedus.core.errors import ConfigError

_PACKAGE = r"package:[A-Za-z0-9][A-Za-z0-9._-]*"
_HUB = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?"


def for_travel(config: RunConfig) -> RunConfig:
    """Return the run without what only this machine has a use for: where its rows lie and results would be written.

    Raises: ConfigError if it needs a file of this machine.
    """
    participants = config.participants
    match participants:
        case sections.Files() as files:
            participants = files.model_copy(
                update={split: _bare(getattr(files, split)) for split in ("train", "validation", "test")}
            )
        case sections.Partition() as dealt:
            named = {"path": dealt.path, "validation": dealt.validation, "test": dealt.test}
            participants = dealt.model_copy(update={key: _bare(path) for key, path in named.items()})
    output = config.output.model_copy(update={"folder": _default(sections.Output, "folder"), "trackers": ()})
    signatures = config.signatures
    if isinstance(signatures, sections.Ed25519):
        signatures = signatures.model_copy(update={"keys": _default(sections.Ed25519, "keys")})
    ready = config.model_copy(update={"participants": participants, "output": output, "signatures": signatures})
    ready = ready.rooted(config.root)
    _refuse(
        f"{key}: {path} lies on this machine, and the coordinator reads no files of researchers; name a model on the "
        "hub or in a package, which everybody has"
        for key, path in _models(config)
        if not re.fullmatch(_PACKAGE, path) and config.locate(path).exists()
    )
    require_travelled(ready)
    return ready


def require_travelled(config: RunConfig) -> None:
    """Check that a run which came from another machine names no place on this one.

    Raises: ConfigError with everything that does, one a line.
    """
    _refuse(_places(config))


def _places(config: RunConfig) -> Iterator[str]:
    """Yield what could lead to a place, beginning with its key."""
    for key, path in _models(config):
        if re.fullmatch(_PACKAGE, path):
            continue
        if not re.fullmatch(_HUB, path):
            yield f"{key}: {path} is a place on a machine; name a model on the hub or package:NAME, which everybody has"
        elif config.locate(path).exists() or Path(path).exists():
            yield f"{key}: {path} is a place on the coordinator's machine, which runs from other machines do not reach"
    for key, given in _rows(config.participants):
        if PurePath(given).name != given or "\\" in given:
            yield f"{key}: {given} leads to a folder; organisations know where their rows are, so give a bare name"
    if config.output.folder != _default(sections.Output, "folder"):
        yield "output.folder: results are written into the coordinator's kit; leave it out"
    if config.output.trackers:
        yield "output.trackers: the coordinator sends nobody figures; leave it out"
    if isinstance(config.signatures, sections.Ed25519) and config.signatures.keys != _default(sections.Ed25519, "keys"):
        yield "signatures.keys: everybody signs with the key of its own kit; leave it out"
    if isinstance(config.strategy, sections.Custom):
        yield "strategy: custom is a program, and programs do not travel; use one that is installed everywhere"
    if config.local.replay is not None:
        yield "local.replay: reads a run's record, which is on one machine; leave it out"


def _models(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield what models and tokenizers are loaded from, by key."""
    match config.model:
        case sections.Checkpoint() as checkpoint:
            yield "model.path", checkpoint.path
        case sections.Architecture(tokenizer=sections.Existing() as existing):
            yield "model.tokenizer", existing.path


def _rows(participants: sections.Participants) -> Iterator[tuple[str, str]]:
    """Yield what would lead to rows, by key."""
    match participants:
        case sections.Files():
            for split in ("train", "validation", "test"):
                given = getattr(participants, split)
                for path in given.values() if isinstance(given, Mapping) else [given] if given else []:
                    yield f"participants.{split}", path
        case sections.Partition():
            for key in ("path", "validation", "test"):
                if (path := getattr(participants, key)) is not None:
                    yield f"participants.{key}", path
        case sections.Scenario():
            return


def _bare(given: sections.Source | None) -> sections.Source | None:
    """Return the names of files without where they lie."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {name: PurePath(path).name or "rows" for name, path in given.items()}
    return PurePath(given).name or "rows"


def _default(section: type[sections.Section], key: str) -> object:
    return section.model_fields[key].default


def _refuse(found: Iterator[str]) -> None:
    if lines := list(found):
        raise ConfigError("\n".join(lines))
