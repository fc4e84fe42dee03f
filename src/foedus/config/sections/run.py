"""The whole run: the YAML file's top level, and the smaller sections."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from foedus.config.sections.compression import Compression, Uncompressed
from foedus.config.sections.local import Local
from foedus.config.sections.model import Model
from foedus.config.sections.participants import Participants
from foedus.config.sections.privacy import NoPrivacy, Privacy
from foedus.config.sections.section import Number, Section, Whole, Word, kinds, matching
from foedus.config.sections.secure_sum import PlainSum, SecureSum
from foedus.config.sections.signatures import Signatures, Unsigned
from foedus.config.sections.strategy import FedAvg, Strategy
from foedus.config.sections.task import Task


class All(Section):
    """Every participant trains in every round."""

    kind: Literal["all"] = "all"


class Fixed(Section):
    """The same number of participants in every round, drawn anew."""

    kind: Literal["fixed"] = "fixed"
    size: Annotated[Whole, Field(ge=1)]
    """How many."""


class Poisson(Section):
    """Every participant decides by a coin of its own, so that numbers vary."""

    kind: Literal["poisson"] = "poisson"
    rate: Annotated[Number, Field(gt=0, le=1)]
    """The chance of taking part in a round."""
    cap: Annotated[Whole, Field(ge=1)] | None = None
    """The most that take part; of more, as many are drawn at random."""


class Cyclic(Section):
    """Fixed groups that take turns, so that so many rounds lie between two rounds of a participant."""

    kind: Literal["cyclic"] = "cyclic"
    separation: Annotated[Whole, Field(ge=1)]
    """Rounds from one participation to the next, and so the number of groups."""


Cohort = Annotated[
    All | Fixed | Poisson | Cyclic,
    Field(discriminator="kind", description="Who trains in a round."),
    kinds("all"),
]


class Rounds(Section):
    """How often participants train and their updates are put together."""

    count: Annotated[Whole, Field(ge=1)] = 10
    """How many rounds."""
    cohort: Cohort = All()
    min_reports: Annotated[Whole, Field(ge=0)] = 1
    """A round with fewer usable updates than this changes nothing."""
    joins: Mapping[str, Annotated[Whole, Field(ge=1)]] = {}
    """Participant → the first round that it is there in, for those who come late. Until then it neither trains nor is
    measured."""
    leaves: Mapping[str, Annotated[Whole, Field(ge=1)]] = {}
    """Participant → the last round that it is there in, for those who leave early."""


class Evaluation(Section):
    """How the model is measured while it trains."""

    every: Annotated[Whole, Field(ge=1)] = 1
    """Rounds from one evaluation to the next; the last round is always evaluated."""
    split: Literal["validation", "test"] = "test"
    """Rows that are measured on. Choose settings by validation, and keep test for the final figure."""
    per_site: bool = True
    """Record each participant's own metrics too; false where these must not leave it."""
    batch_size: Annotated[Whole, Field(ge=1)] = 64
    """Rows in memory at once."""
    baselines: bool = False
    """Have each participant train a model of its own beside the run, on its own rows alone and for as many rounds, and
    compare: what training starts from, each one's own model, and the one trained together, all on the same rows."""


Tracker = Literal["aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"]


class Output(Section):
    """What is written, and where."""

    folder: Word = "runs"
    """Where run folders are made. Left out: runs, in the directory that the command is started in."""
    checkpoints: Annotated[Whole, Field(ge=1)] = 2
    """How many of the latest rounds can be resumed from."""
    merge_adapter: bool = False
    """Write LoRA into the model's weights: a larger folder that needs no peft."""
    trackers: tuple[Tracker, ...] = ()
    """Experiment trackers that get the metrics; each must be installed. They may send them elsewhere."""


RunName = Annotated[
    str,
    Field(max_length=100),
    matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "begin with a letter or digit, and hold only these and . _ -"),
]
Device = Annotated[
    str,
    matching(r"auto|cpu|(cuda|mps|xpu)(:[0-9]+)?", "be auto, cpu, cuda, mps or xpu, or one of several, such as cuda:1"),
]


class RunConfig(Section):
    """One run, as `load_config` returns it: checked, with every default filled in.

    Paths stand as they were written; `locate` says where they lead.
    """

    name: RunName = "run"
    """The run folder's name. Left out: the YAML file's."""
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0
    """Fixes all randomness: the same seed, versions and machine give the same model."""
    task: Task
    model: Model
    participants: Participants
    strategy: Strategy = FedAvg()
    compression: Compression = Uncompressed()
    privacy: Privacy = NoPrivacy()
    secure_sum: SecureSum = PlainSum()
    signatures: Signatures = Unsigned()
    local: Local = Local()
    """How a participant trains in a round."""
    rounds: Rounds = Rounds()
    """How often participants train and their updates are put together."""
    evaluation: Evaluation = Evaluation()
    """How the model is measured while it trains."""
    device: Device = "auto"
    """Where training happens: auto (the best there is), cpu, cuda, cuda:1, mps or xpu."""
    output: Output = Output()
    """What is written, and where."""

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def root(self) -> Path:
        """The folder that relative paths start from: where the YAML file lies."""
        return self._root

    def rooted(self, root: Path) -> RunConfig:
        """Return the same values, with relative paths that start from another folder."""
        copy = self.model_copy()
        copy._root = root.resolve()
        return copy

    def locate(self, path: str) -> Path:
        """Return where a path of this configuration leads."""
        return self.root / Path(path).expanduser()

    def locate_model(self, path: str) -> str:
        """Return what to load a model or tokenizer from: the file or folder of this name, or else the name itself."""
        place = self.locate(path)
        return str(place) if not path.startswith("package:") and place.exists() else path

    @property
    def run_folder(self) -> Path:
        """The folder that this run writes."""
        return Path(os.path.normpath(self.locate(self.output.folder) / self.name))
