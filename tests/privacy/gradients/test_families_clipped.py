"""Every family of models with every task and tuning: the clipped sums are those of one record at a time."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from foedus.core import trees
from foedus.core.errors import ModelError
from foedus.models.tuning import Full, Head, LoRA, Tuning
from privacy.gradients.one_by_one import alone, by_book_keeping, clipped_sum, distance, record_gradients, stirred
from tiny_models import Family
from tiny_models import Head as TaskHead
from tiny_tasks import CASES, ROWS, tuned_tiny

TUNINGS: tuple[Tuning, ...] = (Full(), LoRA(rank=2, target_modules="all-linear"), Head())


@pytest.mark.parametrize(("family", "head"), CASES)
@pytest.mark.parametrize("tuning", TUNINGS, ids=["full", "lora", "head"])
def test_clipped_sums_are_those_of_one_record_at_a_time(
    family: Family, head: TaskHead, tuning: Tuning, tmp_path: Path
) -> None:
    if isinstance(tuning, Head) and head != "classification":
        with pytest.raises(ModelError, match="this task adds none"):
            tuned_tiny(family, head, tuning, tmp_path)
        return
    model, task = tuned_tiny(family, head, tuning, tmp_path)
    parameters, examples = stirred(model.eval()), task.encode(ROWS)
    gradients = record_gradients(parameters, alone(task, model, examples))
    clip_norm = statistics.median(trees.norm(gradient) for gradient in gradients)  # clips some records, not all
    found = by_book_keeping(task, model, parameters, examples, clip_norm)
    assert distance(found, clipped_sum(gradients, clip_norm)) < 1e-5
