"""Which model is trained, and which part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from foedus.config.sections.section import Number, Section, Share, Whole, Word, kinds


class Full(Section):
    """Train and send every parameter."""

    kind: Literal["full"] = "full"


def _layers(value: object) -> object:
    """Return auto, all-linear, or the layers' names."""
    if value in ("auto", "all-linear"):  # a tuple: what stands in a file may be unhashable
        return value
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) and name for name in names):
        return tuple(names)
    raise ValueError("must be auto, all-linear, or a list of layer names such as [q_proj, v_proj]")


TargetModules = Annotated[
    Literal["auto", "all-linear"] | tuple[str, ...],
    BeforeValidator(_layers, json_schema_input_type=Literal["auto", "all-linear"] | str | list[str]),
]


class Lora(Section):
    """Train and send small low-rank factors beside the frozen weights, and the task's head."""

    kind: Literal["lora"] = "lora"
    rank: Annotated[Whole, Field(ge=1)] = 8
    """Inner dimension of the factors: more can learn more, and sends more."""
    alpha: Annotated[Number, Field(gt=0)] = Field(default_factory=lambda data: 2.0 * data.get("rank", 8))
    """The factors' product is scaled by alpha / rank. Left out: twice the rank."""
    dropout: Share = 0.0
    """Share of the factors' inputs that training drops."""
    target_modules: TargetModules = "auto"
    """Names of the layers that get factors; auto: query and value of the attention, or
    what is usual for the model; all-linear: every linear layer below the head."""


class Head(Section):
    """Train and send the task's head alone; the rest stays as it came."""

    kind: Literal["head"] = "head"


Tuning = Annotated[
    Full | Lora | Head,
    Field(discriminator="kind", description="Which part of the model is trained and sent."),
    kinds(),
]


class Checkpoint(Section):
    """Go on from a pre-trained model."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Word
    """A name on the Hugging Face hub, a folder, or package:NAME for a model inside an installed package."""
    revision: str | None = None
    """The hub's commit, branch or tag. Only a commit is sure to give the same model again."""
    dropout: Share | None = None
    """Share of the activations that training drops. Left out: as the checkpoint has it. 0 suits short fine-tuning."""
    tuning: Tuning = Full()


class Architecture(Section):
    """Start from random weights."""

    kind: Literal["architecture"] = "architecture"
    type: Word
    """The model family as transformers calls it: bert, gpt2, llama, t5, …"""
    options: Mapping[str, Any] = {}
    """Sizes, as the family's transformers configuration names them: hidden_size, num_hidden_layers, …"""
    tokenizer: Word
    """Where the tokenizer comes from: a hub name, a folder, or package:NAME."""
    tuning: Tuning = Full()


Model = Annotated[
    Checkpoint | Architecture,
    Field(discriminator="kind", description="The model that is trained."),
    kinds("checkpoint"),
]
