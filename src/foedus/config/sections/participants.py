"""Who takes part, and with which rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from foedus.config.sections.section import Number, Section, Share, Whole, Word, kinds


def _listed_files(value: object) -> object:
    """Return a glob, or name → file; a list of files is named by their stems."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(file, str) for file in value):
        named = {Path(file).stem: file for file in value}
        if len(named) < len(value):
            raise ValueError("lists two files of one name; give each participant's name: {name: file, …}")
        return named
    if isinstance(value, Mapping) and value and all(isinstance(file, str) and file for file in value.values()):
        return {str(name): file for name, file in value.items()}
    raise ValueError("must be a pattern such as data/*.csv, a list of files, or {name: file, …}")


# The file of each participant: a glob, whose files' stems name the participants, or name → file.
Source = Annotated[
    str | Mapping[str, str],
    BeforeValidator(_listed_files, json_schema_input_type=str | list[str] | dict[str, str]),
]


class Split(Section):
    """Parts of each participant's training file that are held out, drawn by the run's seed."""

    validation: Share = 0.0
    """Share of the rows held out for validation, where no validation file is given."""
    test: Share = 0.2
    """Share of the rows held out for testing, where no test file is given."""
    by: Word | None = None
    """A column, such as patient_id: rows that share its value are never on both sides."""


class Files(Section):
    """Every participant has files of its own."""

    kind: Literal["files"] = "files"
    train: Source
    """The files: a pattern (a file's name without its ending is the participant's), a list, or {name: file}."""
    validation: Source | None = None
    """Files of held-out rows for choosing settings, given like `train`."""
    test: Source | None = None
    """Files of held-out rows for the final figures, given like `train`."""
    split: Split = Split()
    """What is held out of the training files."""


class ByColumn(Section):
    """One participant for each value of a column."""

    kind: Literal["column"] = "column"
    column: Word
    """The column whose values name the participants."""


class IID(Section):
    """Equal shares, drawn at random: no participant differs from another."""

    kind: Literal["iid"] = "iid"
    count: Annotated[Whole, Field(ge=1)]
    """How many participants."""


class Sizes(Section):
    """Shares of given sizes, drawn at random."""

    kind: Literal["sizes"] = "sizes"
    sizes: Annotated[tuple[Annotated[Number, Field(gt=0)], ...], Field(min_length=1)]
    """How much each participant gets, in proportion."""


class Dirichlet(Section):
    """Shares in which the labels are mixed unevenly, by a Dirichlet distribution."""

    kind: Literal["dirichlet"] = "dirichlet"
    count: Annotated[Whole, Field(ge=1)]
    """How many participants."""
    alpha: Annotated[Number, Field(gt=0)]
    """The smaller, the more uneven: 100 is nearly even, 0.1 leaves most participants few labels."""
    convention: Literal["per_class", "per_participant"] = "per_class"
    """per_class: each label is spread over participants, whose sizes vary; per_participant: each has its own
    mix of labels, and all are of equal size. Papers mean one or the other."""


class Shards(Section):
    """Shares in which each participant has few labels: rows sorted by label, cut into shards, and dealt out."""

    kind: Literal["shards"] = "shards"
    count: Annotated[Whole, Field(ge=1)]
    """How many participants."""
    shards_per_participant: Annotated[Whole, Field(ge=1)] = 2
    """How many shards each one gets."""


Into = Annotated[
    ByColumn | IID | Sizes | Dirichlet | Shards,
    Field(discriminator="kind", description="How the rows are dealt out to participants."),
    kinds(),
]


class Partition(Section):
    """One data set, dealt out to simulated participants."""

    kind: Literal["partition"] = "partition"
    path: Word
    """The file or folder that holds all rows."""
    validation: Word | None = None
    """A file of held-out rows for choosing settings, dealt out in the same way."""
    test: Word | None = None
    """A file of held-out rows for the final figures, dealt out in the same way."""
    into: Into
    split: Split = Split()
    """What is held out of each participant's rows."""


class Clinics(Section):
    """Hospitals that sort ICD-10-CM diagnosis descriptions into chapters, each with the mix of its speciality.

    The columns are text and label. Code descriptions, not clinical notes.
    """

    kind: Literal["clinics"] = "clinics"
    hospitals: Annotated[Whole, Field(ge=1, le=8)] = 8
    """How many hospitals."""
    train_rows: Annotated[Whole, Field(ge=1)] | Literal["all"] = 3000
    """Training rows, over all hospitals; all: every description that is not held out, for pre-training."""
    test_rows: Annotated[Whole, Field(ge=1)] = 1000
    """Test rows, over all hospitals."""


class Plays(Section):
    """Shakespeare's plays, each role, play or genre a participant; a row is a speech, in the column text."""

    kind: Literal["plays"] = "plays"
    by: Literal["role", "play", "genre"] = "role"
    """Who takes part: the speakers of the plays, each with its own speeches; whole plays; or the plays of a genre."""
    participants: Annotated[Whole, Field(ge=1)] | None = None
    """How many: those with most text. Left out: all that have enough."""
    genres: (
        tuple[Literal["histories", "comedies", "tragedies", "problem plays", "Roman plays", "romances"], ...] | None
    ) = None
    """Only plays of these genres. Left out: all."""
    minimum_characters: Annotated[Whole, Field(ge=1)] = 2000
    """Participants with less text are left out."""
    validation: Share = 0.0
    """Share of each participant's text held out for validation: what it says before the test part."""
    test: Share = 0.1
    """Share of each participant's text held out for testing: what it says last in each play."""


class Scenario(Section):
    """Ready-made participants on real data that comes with an installed package."""

    kind: Literal["scenario"] = "scenario"
    scenario: Annotated[Clinics | Plays, Field(discriminator="kind", description="Which one."), kinds("clinics")]


Participants = Annotated[
    Files | Partition | Scenario,
    Field(discriminator="kind", description="Who takes part, and with which rows."),
    kinds("files"),
]
