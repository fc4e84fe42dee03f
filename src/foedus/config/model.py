"""From `model` to a model whose trained part is chosen."""

from __future__ import annotations

from typing import assert_never

from torch import nn

from foedus.config import sections
from foedus.core.seeds import SeedKey
from foedus.models import sources, tuning
from foedus.models.loading import LoadedModel


def build_source(config: sections.RunConfig) -> sources.ModelSource:
    """Return where the model comes from."""
    match config.model:
        case sections.Checkpoint() as checkpoint:
            return sources.Checkpoint(config.locate_model(checkpoint.path), checkpoint.revision, checkpoint.dropout)
        case sections.Architecture() as scratch:
            return sources.Architecture(scratch.type, config.locate_model(scratch.tokenizer), scratch.options)
        case _:
            assert_never(config.model)


def build_tuning(chosen: sections.Tuning) -> tuning.Tuning:
    """Return which part of the model is trained."""
    match chosen:
        case sections.Full():
            return tuning.Full()
        case sections.Head():
            return tuning.Head()
        case sections.Lora() as lora:
            return tuning.LoRA(lora.rank, lora.alpha, lora.dropout, lora.target_modules)
        case _:
            assert_never(chosen)


def tune(loaded: LoadedModel, config: sections.RunConfig, peft_task_type: str | None, key: SeedKey) -> nn.Module:
    """Return the model with exactly the chosen parameters trainable.

    Raises: ModelError if the model has no such parameters, or cannot do without its activations.
    """
    model = tuning.tune(loaded, build_tuning(config.model.tuning), peft_task_type, key)
    if config.local.gradient_checkpointing:
        tuning.enable_gradient_checkpointing(model)
    return model
