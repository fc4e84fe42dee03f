"""Private gradients in the ways that models are trained: dropout, bf16, gradient checkpointing, an optimizer's step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foedus.core import trees
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.core.trees import ParamTree
from foedus.models.tuning import Full, LoRA, Tuning, enable_gradient_checkpointing
from foedus.privacy.gradients.clipped_sums import ClippedSums
from privacy.gradients.one_by_one import alone, clipped_sum, distance, gradients_within, record_gradients, stirred
from tiny_models import Family
from tiny_models import Head as TaskHead
from tiny_tasks import ROWS, tuned_tiny

CLIP, CPU = 0.5, torch.device("cpu")
LORA = LoRA(rank=2, dropout=0.3, target_modules="all-linear")
ONE_TASK_EACH: tuple[tuple[Family, TaskHead], ...] = (
    ("bert", "classification"),
    ("distilbert", "classification"),
    ("roberta", "masked_lm"),
    ("albert", "masked_lm"),
    ("gpt2", "causal_lm"),
    ("llama", "causal_lm"),
    ("t5", "sequence_to_sequence"),
    ("bart", "sequence_to_sequence"),
)
EVERY_FAMILY = pytest.mark.parametrize(("family", "head"), ONE_TASK_EACH)
TUNINGS = pytest.mark.parametrize("tuning", [Full(), LORA], ids=["full", "lora"])


class Case:
    """A model with its batch; its losses have the same dropout every time."""

    def __init__(self, family: Family, head: TaskHead, tuning: Tuning, folder: Path) -> None:
        self.model: Any
        self.model, self.task = tuned_tiny(family, head, tuning, folder)
        self.parameters = stirred(self.model)
        self.examples = self.task.encode(ROWS)
        self.batch = self.task.collate(self.examples, SeedKey.from_seed(3))
        self.model.train()

    def losses(self) -> Tensor:
        with torch_seeded(SeedKey.from_seed(7), CPU):
            return self.task.record_losses(self.model, self.batch)

    def clipped(self) -> ParamTree:
        sums = ClippedSums(self.model, self.parameters, CLIP)
        sums.add(self.losses, len(self.examples))
        return sums.take()


@pytest.mark.parametrize(
    ("family", "head", "tuning"),
    [
        *((family, head, LORA) for family, head in ONE_TASK_EACH),
        *((family, head, Full()) for family, head in ONE_TASK_EACH if family not in {"albert", "llama"}),  # have none
    ],
)
def test_dropout_is_that_of_the_forward_pass(family: Family, head: TaskHead, tuning: Tuning, tmp_path: Path) -> None:
    case = Case(family, head, tuning, tmp_path)
    found = case.clipped()
    assert distance(found, clipped_sum(gradients_within(case.losses(), case.parameters), CLIP)) < 1e-5
    case.model.eval()
    assert distance(found, case.clipped()) > 1e-3


@pytest.mark.parametrize(("family", "head"), [case for case in ONE_TASK_EACH if case[0] != "albert"])  # it cannot
@TUNINGS
def test_gradient_checkpointing_changes_no_sum(family: Family, head: TaskHead, tuning: Tuning, tmp_path: Path) -> None:
    case = Case(family, head, tuning, tmp_path)
    plain = case.clipped()
    enable_gradient_checkpointing(case.model)
    calls = list(_counting_calls(case.model))
    found = case.clipped()
    assert max(len(seen) for seen in calls) >= 2  # something was computed again
    assert distance(found, plain) < 1e-6


def _counting_calls(model: nn.Module) -> Iterator[list[bool]]:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("Norm"):
            seen: list[bool] = []
            module.register_forward_pre_hook(lambda _, __, seen=seen: seen.append(True))
            yield seen


@pytest.mark.parametrize(
    ("family", "head"), [("bert", "masked_lm"), ("gpt2", "causal_lm"), ("t5", "sequence_to_sequence")]
)
@TUNINGS
def test_sums_under_bf16_are_float32_and_near(family: Family, head: TaskHead, tuning: Tuning, tmp_path: Path) -> None:
    case = Case(family, head, tuning, tmp_path)
    sums = ClippedSums(case.model, case.parameters, CLIP)

    def losses() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return case.losses()

    sums.add(losses, len(case.examples))
    found = sums.take()
    assert all(total.dtype == torch.float32 for total in found.values())
    assert distance(found, clipped_sum(gradients_within(losses(), case.parameters), CLIP)) < 0.02
    # one record alone is within the norm, to float32, and not only to bfloat16: what it adds is what was measured
    for index in range(len(case.examples)):
        case.batch = case.task.collate(case.examples[index : index + 1], SeedKey.from_seed(3))
        sums.add(losses, 1)
        assert trees.norm(sums.take()) <= CLIP * (1 + 1e-5)


@EVERY_FAMILY
@TUNINGS
def test_a_step_of_adamw_moves_the_weights_as_that_of_one_record_at_a_time(
    family: Family, head: TaskHead, tuning: Tuning, tmp_path: Path
) -> None:
    case = Case(family, head, tuning, tmp_path)
    case.model.eval().double()  # AdamW's first step is a sign: in float32, where a gradient is 0, a sign of rounding
    gradients = record_gradients(case.parameters, alone(case.task, case.model, case.examples))
    expected = _moved(case, clipped_sum(gradients, CLIP))
    found = _moved(case, case.clipped())
    assert trees.norm(expected) > 1e-2
    assert distance(found, expected) < 1e-5


def _moved(case: Case, total: ParamTree) -> ParamTree:
    """Return what one step of AdamW on the sum over the expected batch changes; the model stays."""
    before = {name: parameter.detach().clone() for name, parameter in case.parameters.items()}
    optimizer = torch.optim.AdamW(case.parameters.values(), lr=1e-2, weight_decay=0.1)
    for name, parameter in case.parameters.items():
        parameter.grad = total[name] / 8
    optimizer.step()
    optimizer.zero_grad()
    after = {name: parameter.detach().clone() for name, parameter in case.parameters.items()}
    trees.copy_in_place({name: p.data for name, p in case.parameters.items()}, before)
    return trees.subtract(after, before)
