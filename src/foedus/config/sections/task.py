"""What the model learns to do, and from which columns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from foedus.config.sections.section import Number, Section, Whole, Word, kinds


def _listed(value: object) -> object:
    """Take one column's name for a list of one."""
    return [value] if isinstance(value, str | float) or type(value) is int else value


def _unlisted(names: tuple[str, ...]) -> object:
    """Write a list of one column as its name."""
    return names[0] if len(names) == 1 else list(names)


OneOrTwoColumns = Annotated[
    tuple[Word, ...],
    Field(min_length=1, max_length=2),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    PlainSerializer(_unlisted),
]


class TextClassification(Section):
    """Put a text, or a pair of texts, into one of several classes."""

    kind: Literal["text_classification"] = "text_classification"
    text: OneOrTwoColumns
    """The column that holds the text; two columns for a pair of texts."""
    label: Word
    """The column that holds the class."""
    labels: Annotated[tuple[Word, ...], Field(min_length=2)] | None = None
    """The classes. Left out: agreed over all participants, who so learn each other's classes."""
    max_length: Annotated[Whole, Field(ge=1)] = 128
    """Tokens of a text that are read; the rest is cut off."""

    @field_validator("labels", mode="before", json_schema_input_type=list[str | int | float | bool] | None)
    @classmethod
    def _as_in_the_files(cls, labels: object) -> object:
        """Take the YAML values true and false for the texts that a table has for them."""
        if not isinstance(labels, list | tuple):
            return labels
        return [str(label).lower() if isinstance(label, bool) else label for label in labels]

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if labels is None else require_distinct(labels)

    @field_validator("text")
    @classmethod
    def _two_columns(cls, text: tuple[str, ...]) -> tuple[str, ...]:
        return require_distinct(text)


class CausalLM(Section):
    """Continue a text: every token is predicted from those before it."""

    kind: Literal["causal_lm"] = "causal_lm"
    text: Word
    """The column that holds the text."""
    max_length: Annotated[Whole, Field(ge=2)] = 256
    """Tokens that the model sees at once."""
    packing: bool = False
    """Put a participant's texts one after the other and cut blocks of max_length, as pre-training does: nothing
    is lost. Otherwise each text is an example, and what is longer is cut off."""


class MaskedLM(Section):
    """Fill the gaps of a text: hidden tokens are predicted from those around them."""

    kind: Literal["masked_lm"] = "masked_lm"
    text: Word
    """The column that holds the text."""
    max_length: Annotated[Whole, Field(ge=2)] = 256
    """Tokens that the model sees at once."""
    mask_probability: Annotated[Number, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that are hidden and predicted."""
    packing: bool = False
    """Put a participant's texts one after the other and cut blocks of max_length, as pre-training does: nothing
    is lost. Otherwise each text is an example, and what is longer is cut off."""


class SequenceToSequence(Section):
    """Write one text from another: translations, summaries, answers."""

    kind: Literal["sequence_to_sequence"] = "sequence_to_sequence"
    source: Word
    """The column that holds the text that is read."""
    target: Word
    """The column that holds the text that is written."""
    prefix: str = ""
    """Put before every source text; T5 wants one, such as 'summarize: '."""
    max_length: Annotated[Whole, Field(ge=2)] = 256
    """Tokens of a source text that are read; the rest is cut off."""
    max_target_length: Annotated[Whole, Field(ge=2)] = 64
    """Tokens of a target text that are learnt; the rest is cut off."""
    generate: bool = False
    """Also write the targets when evaluating, and count how many are right to the letter; slow."""


Task = Annotated[
    TextClassification | CausalLM | MaskedLM | SequenceToSequence,
    Field(discriminator="kind", description="What the model learns to do."),
    kinds(),
]


def require_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names if none of them is there twice."""
    if repeated := [name for index, name in enumerate(names) if name in names[:index]]:
        raise ValueError(f"names '{repeated[0]}' twice")
    return names
