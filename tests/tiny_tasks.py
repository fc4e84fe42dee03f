"""Every task on a handful of rows, and every family of models that can do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from foedus.core.seeds import SeedKey
from foedus.models.loading import LoadedModel, load_model, load_tokenizer
from foedus.models.sources import Checkpoint
from foedus.models.tuning import Tuning, tune
from foedus.tasks.causal_lm import CausalLM
from foedus.tasks.masked_lm import MaskedLM
from foedus.tasks.sequence_to_sequence import SequenceToSequence
from foedus.tasks.text_classification import TextClassification
from foedus.training.task import Task
from tiny_models import DECODERS, ENCODER_DECODERS, ENCODERS, FAMILIES, LABELS, Family, Head, tiny_folder

# Each family with each task that it can do.
CASES: tuple[tuple[Family, Head], ...] = (
    *((family, "classification") for family in FAMILIES),
    *((family, "causal_lm") for family in DECODERS),
    *((family, "masked_lm") for family in ENCODERS),
    *((family, "sequence_to_sequence") for family in ENCODER_DECODERS),
)
ROWS = pa.table(
    {
        "text": ["pain in the chest", "skin", "the left lung and the right lung", "of the", "ärm", "chest pain, left"],
        "other": ["heart attack", "rash", "lung", "none", "bruise", "heart"],
        "label": ["heart", "skin", "lung", "lung", "skin", "heart"],
    }
)


def tiny_task(head: Head, tokenizer: Any) -> Task:
    """Return the task that a head is for, on the columns of ROWS."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    match head:
        case "classification":
            return TextClassification(tokenizer, ("text",), "label", LABELS, max_length=24)
        case "causal_lm":
            return CausalLM(tokenizer, "text", max_length=24)
        case "masked_lm":
            return MaskedLM(tokenizer, "text", max_length=24)
        case "sequence_to_sequence":
            return SequenceToSequence(tokenizer, "text", "other", max_length=24, max_target_length=12)
        case "none":
            raise ValueError("a model without a head has no task")


def load_tiny(folder: Path, head: Head, seed: int = 0) -> tuple[LoadedModel, Task]:
    """Return the model in a checkpoint's folder with a head, and the head's task."""
    source = Checkpoint(str(folder))
    tokenizer = load_tokenizer(source)
    task = tiny_task(head, tokenizer)
    labels = LABELS if head == "classification" else ()
    return load_model(source, tokenizer, task.auto_class, SeedKey.from_seed(seed), labels), task


def tuned_tiny(family: Family, head: Head, tuning: Tuning, folder: Path) -> tuple[Any, Task]:
    """Return a tiny model tuned for the task, from a checkpoint of its family that is written to the folder.

    Classifiers start from a checkpoint without a head, as they do in practice; language models have theirs.
    """
    checkpoint = tiny_folder(family, folder, "none" if head == "classification" else head)
    loaded, task = load_tiny(checkpoint, head)
    return tune(loaded, tuning, task.peft_task_type, SeedKey.from_seed(1)), task
