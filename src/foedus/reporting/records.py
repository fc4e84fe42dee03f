"""What a run folder says, as frozen values.

Unknown keys are ignored, so that a folder of a later version can still be read. A metric that is
null or NaN in the file is NaN here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from foedus.core.errors import RunFolderError

ROUNDS = "rounds.jsonl"
SUMMARY = "summary.json"
CONFIG = "config.yaml"
COMPARISON = "comparison.json"

Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
Metrics = Mapping[str, Number]
T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """Metrics over the union of all sites' rows, and a site's own; None where the run does not tell.

    left_out: the sites whose statistics are missing, with the reason.
    """

    all: Metrics | None = None
    sites: Mapping[str, Metrics] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SiteRound:
    """What one site tells of its own training in a round, if the run declares it."""

    train: Metrics = field(default_factory=dict)
    steps: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Spent:
    """What the run has spent of privacy after a round, and what of that could be."""

    epsilon: float


@dataclass(frozen=True)
class Guarantee:
    """What a run promises of privacy.

    statement: the guarantee in a sentence, with unit, epsilon and delta. facts: its parameters by name.
    limits: what is not protected. private: False where noise followed from a seed.
    """

    unit: str
    epsilon: float
    delta: float
    statement: str
    facts: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()
    private: bool = True


@dataclass(frozen=True)
class RoundRecord:
    """One line of rounds.jsonl. Round 0 is the evaluation before training.

    cohort_hidden: whether it is kept secret who took part, and with it their number, bytes and time.
    """

    round: int
    stood: bool = True
    cohort_hidden: bool = False
    cohort: Sequence[str] = ()
    reports: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    train: Metrics = field(default_factory=dict)
    weight: float | None = None
    steps: int | None = None
    tokens: int | None = None
    learning_rate: float | None = None
    evaluation: Evaluation | None = None
    bytes: Mapping[str, Number] = field(default_factory=dict)
    seconds: Mapping[str, Number] = field(default_factory=dict)
    sites: Mapping[str, SiteRound] = field(default_factory=dict)
    privacy: Spent | None = None


@dataclass(frozen=True)
class SiteRows:
    """How many rows of each split a site holds. labels: training rows by label."""

    train: int = 0
    validation: int = 0
    test: int = 0
    labels: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Parameters:
    """How many numbers the model has, how many are trained, and how many a participant sends."""

    total: int
    trained: int
    sent: int


@dataclass(frozen=True)
class Summary:
    """What summary.json holds.

    finished: False while a run has rounds to go. model: the checkpoint as the user gave it, or the architecture.
    base_model: where its weights can be loaded from again, if anywhere. participants: how many there are.
    data_note, notes: what a reader should know of the data, and of the model.
    samples: texts that a language model wrote. privacy: None without differential privacy.
    stopped: why the run ended before its last round, if it did.
    between_organisations: whether each participant was on a machine of its own.
    """

    name: str
    finished: bool
    rounds: int
    task: str
    headline: str
    higher_is_better: bool
    parameters: Parameters
    foedus: str = "unknown"
    final: Evaluation | None = None
    initial: Evaluation | None = None
    sites: Mapping[str, SiteRows] | None = None
    participants: int | None = None
    bytes: Mapping[str, Number] = field(default_factory=dict)
    tokens: Mapping[str, float | None] = field(default_factory=dict)
    seconds: Mapping[str, Number] = field(default_factory=dict)
    strategy: str = "unknown"
    model: str = "unknown"
    base_model: str | None = None
    tuning: str | None = None
    labels: Sequence[str] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    model_digest: str | None = None
    license: str | None = None
    data_note: str | None = None
    notes: Sequence[str] = ()
    samples: Sequence[str] = ()
    privacy: Guarantee | None = None
    stopped: str | None = None
    between_organisations: bool = False


@dataclass(frozen=True)
class ArmRun:
    """One seed of one way of training.

    sites: on each site's own test rows. all_by_site: where every site trained a model of its own,
    each of these on the union. curve: (round, headline metric on the union).
    """

    seed: int
    all: Metrics | None = None
    sites: Mapping[str, Metrics] | None = None
    all_by_site: Mapping[str, Metrics] | None = None
    curve: Sequence[tuple[Number, Number]] = ()
    seconds: float | None = None
    bytes: float | None = None


@dataclass(frozen=True)
class Arm:
    """One way of training, such as "federated" or "pooled"."""

    name: str
    runs: Sequence[ArmRun]


@dataclass(frozen=True)
class Comparison:
    """What comparison.json holds. of: the participant whose rows alone it is of; None: of all."""

    name: str
    headline: str
    higher_is_better: bool
    seeds: Sequence[int]
    arms: Sequence[Arm]
    data_note: str | None = None
    of: str | None = None


@dataclass(frozen=True)
class Run:
    """A run folder. rounds: in order, one each. config: the resolved YAML as a tree."""

    folder: Path
    summary: Summary
    rounds: Sequence[RoundRecord]
    config_text: str
    config: Mapping[str, Any]

    @property
    def participants(self) -> Sequence[str]:
        """Every participant that the folder names, in the order of the summary, then of the rounds."""
        named = dict.fromkeys(self.summary.sites or {})
        for record in self.rounds:
            named |= dict.fromkeys((*record.cohort, *record.left_out))
        return tuple(named)

    @property
    def participant_count(self) -> int:
        """How many participants the run has."""
        return self.summary.participants or len(self.participants)

    @property
    def split(self) -> str:
        """The split that evaluations were made on."""
        section = self.config.get("evaluation")
        return str(section.get("split", "test")) if isinstance(section, Mapping) else "test"


def read_run(folder: Path) -> Run:
    """Return all that a run folder says.

    Raises: RunFolderError if a file of it is missing or damaged.
    """
    config_text = _text(folder / CONFIG)
    try:
        config = yaml.safe_load(config_text)
    except yaml.YAMLError as error:
        raise RunFolderError(f"{folder / CONFIG} is damaged: it is not valid YAML") from error
    return Run(
        folder=folder,
        summary=read_summary(folder),
        rounds=read_rounds(folder),
        config_text=config_text,
        config=config if isinstance(config, Mapping) else {},
    )


def read_summary(folder: Path) -> Summary:
    """Return what a run's summary.json holds. Raises: RunFolderError."""
    return _parse(Summary, folder / SUMMARY)


def read_comparison(folder: Path) -> Comparison:
    """Return what a folder's comparison.json holds. Raises: RunFolderError."""
    return _parse(Comparison, folder / COMPARISON)


def read_rounds(folder: Path) -> Sequence[RoundRecord]:
    """Return the records of rounds.jsonl in the order of rounds; of a repeated round, the last.

    A torn last line, as a run leaves that is working or was killed, is left out.
    Raises: RunFolderError if the file is missing, or another line cannot be read.
    """
    path = folder / ROUNDS
    lines = _text(path).split("\n")
    adapter = TypeAdapter(RoundRecord)
    records: dict[int, RoundRecord] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise RunFolderError(f"{path} is damaged: line {number} is not a JSON object") from error
        record = _checked(adapter, value, f"{path}, line {number}")
        records[record.round] = record
    return tuple(records[number] for number in sorted(records))


def _text(path: Path) -> str:
    if not path.parent.is_dir():
        raise RunFolderError(
            f"there is no run folder {path.parent}; give the folder that `foedus run` named at its end"
        )
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path.parent} holds no {path.name}: it is not a run folder, or its run was stopped before it wrote "
            f"the file; `foedus run --resume {path.parent}` goes on with a stopped run"
        ) from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error


def _parse(kind: type[T], path: Path) -> T:
    try:
        value = json.loads(_text(path))
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged: it is not valid JSON") from error
    return _checked(TypeAdapter(kind), value, str(path))


def _checked(adapter: TypeAdapter[T], value: object, where: str) -> T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise RunFolderError(f"{where} is damaged: {place}: {first['msg'].lower()}") from error
