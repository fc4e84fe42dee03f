"""Where Opacus' hooks give per-sample gradients at all, the clipped sums are theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from foedus.core.seeds import SeedKey
from foedus.models.tuning import Full, LoRA, Tuning
from privacy.gradients.one_by_one import by_book_keeping, clipped_sum, distance, stirred
from tiny_models import Family
from tiny_models import Head as TaskHead
from tiny_tasks import ROWS, tuned_tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # Opacus' own

CLIP = 0.5


@pytest.mark.parametrize(
    ("family", "head", "tuning"),
    [
        (
            "roberta",
            "classification",
            Full(),
        ),  # BERT's positions have a batch of one, which Opacus takes for the records'
        ("bert", "classification", LoRA(rank=2)),
        ("gpt2", "causal_lm", LoRA(rank=2)),
        ("llama", "causal_lm", LoRA(rank=2, target_modules="all-linear")),
    ],
)
def test_clipped_sums_are_those_of_opacus_per_sample_gradients(
    family: Family, head: TaskHead, tuning: Tuning, tmp_path: Path
) -> None:
    from opacus.grad_sample import GradSampleModule

    model: Any
    model, task = tuned_tiny(family, head, tuning, tmp_path)
    parameters, examples = stirred(model), task.encode(ROWS)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # Opacus wants models in training mode
    found = by_book_keeping(task, model, parameters, examples, CLIP)
    hooked: Any = GradSampleModule(model, loss_reduction="sum", strict=False)
    batch = task.collate(examples, SeedKey.from_seed(3))
    task.record_losses(model, batch).sum().backward()  # type: ignore[no-untyped-call] # PyTorch's own
    samples = {name: getattr(parameter, "grad_sample", None) for name, parameter in parameters.items()}
    gradients = [
        {n: torch.zeros_like(parameters[n]) if s is None else s[i] for n, s in samples.items()}
        for i in range(len(examples))
    ]
    hooked.remove_hooks()
    assert distance(found, clipped_sum(gradients, CLIP)) < 1e-5
