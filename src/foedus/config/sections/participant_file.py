"""`participant.yaml`: what one organisation brings to a federation, what it allows, and what it refuses.

The organisation writes it and keeps it; it never travels. What it leaves out is refused rather than allowed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from foedus.config.sections.participants import Participants, Split
from foedus.config.sections.run import Device
from foedus.config.sections.section import Number, Section, Whole, Word, kinds

TaskKind = Literal["text_classification", "causal_lm", "masked_lm", "sequence_to_sequence"]
StrategyKind = Literal[
    "fedavg",
    "fedprox",
    "fedavgm",
    "fedadam",
    "fedyogi",
    "fedadagrad",
    "scaffold",
    "fednova",
    "feddyn",
    "fedexp",
    "diloco",
]
Count = Literal["train_rows", "validation_rows", "test_rows"]
MEBIBYTE = 1 << 20


class OwnFiles(Section):
    """Files of this organisation."""

    kind: Literal["files"] = "files"
    train: Word
    """The file of training rows: CSV, TSV, JSON, JSON lines, Parquet, or a `datasets` folder."""
    validation: Word | None = None
    """A file of held-out rows for choosing settings."""
    test: Word | None = None
    """A file of held-out rows for the final figures."""
    split: Split | None = None
    """What is held out of the training file. Left out: what the run says."""


class Part(Section):
    """One participant's part of data that are dealt out, to try a federation on public data."""

    kind: Literal["part"] = "part"
    of: Participants
    name: Word | None = None
    """Whose part. Left out: the organisation's name."""


class Budget(Section):
    """The most privacy that all runs together may spend on these data, checked before each round."""

    epsilon: Annotated[Number, Field(gt=0)]
    """The bound on epsilon, at this delta."""
    delta: Annotated[Number, Field(gt=0, lt=1)]
    """The chance that epsilon does not hold; it must be less than 1 / n."""
    name: Word | None = None
    """The ledger's name for these data: data that are the same keep one name. Left out: the organisation's name."""
    unit: Literal["record", "block", "participant"] = "record"
    """What epsilon is for: each record, each block of text, or all that this organisation sends (privacy:
    participants). Runs that spend of another unit are refused."""


class AllowedModel(Section):
    """A model that runs may start from; its path alone stands for this section."""

    path: Word
    """A hub name, a folder of this machine, package:NAME, or architecture:TYPE for random weights."""
    revision: Word | None = None
    """The hub's commit, which the run must name too."""
    folder: Word | None = None
    """Where it lies on this machine, if the run's path does not lead to it here."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 over the folder's files: a model that differs is refused, and the message tells what it has."""


def _model(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Allow(Section):
    """Which runs take these data. Uploaded code is always refused, and so is strategy custom."""

    runs: Annotated[tuple[Word, ...], Field(min_length=1)]
    """Names of runs; * stands for anything, as in [letters-*]."""
    models: Annotated[
        tuple[Annotated[AllowedModel, BeforeValidator(_model, json_schema_input_type=str | AllowedModel)], ...],
        Field(min_length=1),
    ]
    """Models that training may start from."""
    tasks: tuple[TaskKind, ...] | Literal["all"] = "all"
    """Kinds of task."""
    strategies: tuple[StrategyKind, ...] | Literal["all"] = "all"
    """Kinds of strategy; all: every one of this program."""
    columns: tuple[Word, ...] | Literal["all"] = "all"
    """Columns that a task may read."""
    tell_labels: bool = False
    """Whether the classes in these rows may be told to everybody (task.labels left out). Their rows are not."""
    plain_sums: bool = False
    """Whether runs may send the coordinator this organisation's update by itself (secure_sum: none)."""
    shared_key: bool = False
    """Whether updates may travel under a key that all participants hold, so that any one of them who sides with the
    coordinator opens this organisation's update (secure_sum: ckks)."""
    unreviewed: bool = False
    """Whether runs may rely on cryptography that nobody outside has reviewed (secure_sum: threshold)."""
    min_cohort: Annotated[Whole, Field(ge=2)] = 3
    """The fewest participants whose sum, this organisation's update in it, the coordinator may see
    (secure_sum.min_cohort of a run must be as many)."""
    own_figures: bool = False
    """Whether runs may show figures of this organisation alone (evaluation.per_site)."""
    without_privacy: bool = True
    """Whether runs may do without differential privacy. false asks of each for privacy: records, or
    participants with mechanism distributed, within `budget`."""
    public_evaluation: bool = False
    """Whether a run with differential privacy may measure on these held-out rows and show exact figures, which epsilon
    does not cover (privacy.evaluation: public)."""
    baselines: bool = False
    """Whether to train a model of this organisation's own beside runs that compare with that (evaluation.baselines),
    and be in their sums of figures. It takes as long again as the run. With false it takes part in such runs, but is in
    none of their figures."""
    rounds: Annotated[Whole, Field(ge=1)] | None = None
    """The most rounds of a run. Left out: any number."""


class Limits(Section):
    """How much a run may take."""

    upload_bytes: Annotated[Whole, Field(ge=1)] = 1024 * MEBIBYTE
    """The largest message that leaves this organisation. What would be larger is not sent."""
    download_bytes: Annotated[Whole, Field(ge=1)] = 8192 * MEBIBYTE
    """The largest message that is taken in."""
    memory_bytes: Annotated[Whole, Field(ge=1)] | None = None
    """The most memory that training may take; more ends that round's work. Left out: no limit of ours."""


class ParticipantFile(Section):
    """What an organisation brings to a federation, and what it allows."""

    data: Annotated[OwnFiles | Part, Field(discriminator="kind", description="Which rows take part."), kinds("files")]
    allow: Allow
    """Which runs take these data."""
    budget: Budget | None = None
    """The most privacy that runs may spend. Needed for runs with differential privacy."""
    ledgers: Word | None = None
    """The folder of the ledger that says what was spent. It must outlast everything else. Left out: this user's, as
    `foedus privacy ledger` shows it."""
    limits: Limits = Limits()
    """How much a run may take."""
    show: tuple[Count, ...] = ()
    """Counts that the federation's page may show to all: train_rows, validation_rows, test_rows."""
    device: Device = "auto"
    """Where training happens here, whatever the run says."""

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def root(self) -> Path:
        """The folder that relative paths start from: where the file lies."""
        return self._root

    def locate(self, path: str) -> Path:
        """Return where a path of this file leads."""
        return self.root / Path(path).expanduser()

    def rooted(self, root: Path) -> ParticipantFile:
        """Return the same file, with relative paths that start from another folder."""
        copy = self.model_copy()
        copy._root = root.resolve()
        return copy
