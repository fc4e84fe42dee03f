"""What holds for every task with every family of models that can do it."""

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from foedus.core.seeds import SeedKey
from foedus.training.task import Batch, Task
from tiny_models import FAMILIES, Family, Head, tiny
from tiny_tasks import CASES, ROWS, tiny_task

KEY = SeedKey.from_seed(5)
# GPT-2's and Llama's tokenizers have no padding token: theirs is the end-of-text token.
EVERY_CASE = pytest.mark.parametrize(("family", "head"), CASES)


def set_up(family: Family, head: Head) -> tuple[Any, Task]:
    model, tokenizer = tiny(family, head)
    task = tiny_task(head, tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), task


@EVERY_CASE
def test_the_loss_is_transformers_own_mean_times_the_units(family: Family, head: Head) -> None:
    model, task = set_up(family, head)
    for examples in (task.encode(ROWS), task.encode(ROWS)[:1]):
        batch = task.collate(examples, KEY)
        loss = task.loss(model, batch)
        assert loss.units > 0
        torch.testing.assert_close(loss.total, built_in_loss(model, head, batch) * loss.units)


@EVERY_CASE
def test_a_record_s_loss_is_its_mean_alone_whatever_its_company(family: Family, head: Head) -> None:
    model, task = set_up(family, head)
    batch = task.collate(task.encode(ROWS), KEY)
    losses = task.record_losses(model, batch)
    assert losses.dtype == torch.float32
    for index, loss in enumerate(losses):
        alone = {name: tensor[index : index + 1] for name, tensor in batch.items()}
        expected = task.loss(model, alone)
        torch.testing.assert_close(loss, expected.total / expected.units)


@pytest.mark.parametrize(("family", "head"), [case for case in CASES if case[1] != "classification"])
def test_a_record_without_a_predicted_token_has_the_loss_zero(family: Family, head: Head) -> None:
    model, task = set_up(family, head)
    batch = dict(task.collate(task.encode(ROWS), KEY))
    batch["targets"] = batch["targets"].clone()
    batch["targets"][2] = -100
    losses = task.record_losses(model, batch)
    assert losses[2].item() == 0
    assert (losses[[0, 1, 3, 4, 5]] > 0).all()
    batch["targets"][:] = -100
    losses = task.record_losses(model, batch)
    assert losses.requires_grad
    assert not losses.any()


def built_in_loss(model: Any, head: Head, batch: Batch) -> torch.Tensor:
    """Return the mean loss that the model computes when it is given labels."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    labels = batch["labels" if head == "classification" else "targets"]
    if head == "causal_lm":  # transformers moves labels by one place; our targets are moved already
        inputs = {name: nn.functional.pad(value, (0, 1)) for name, value in inputs.items()}
        labels = nn.functional.pad(labels, (1, 0), value=-100)
    loss: torch.Tensor = model(**inputs, labels=labels).loss
    return loss


@EVERY_CASE
def test_padding_changes_nothing(family: Family, head: Head) -> None:
    model, task = set_up(family, head)
    examples = task.encode(ROWS)
    longest = max(examples, key=task.length)
    for example in examples:
        alone = task.loss(model, task.collate([example]))
        both = task.loss(model, task.collate([example, longest]))
        other = task.loss(model, task.collate([longest]))
        torch.testing.assert_close(both.total, alone.total + other.total)
        assert both.units == alone.units + other.units


@EVERY_CASE
def test_statistics_add_up_over_any_split_into_batches(family: Family, head: Head) -> None:
    model, task = set_up(family, head)
    examples = task.encode(ROWS)
    together = task.tally(model, task.collate(examples))
    for size in (1, 4):
        parts = [
            task.tally(model, task.collate(examples[start : start + size])) for start in range(0, len(examples), size)
        ]
        summed = {name: torch.stack([part[name] for part in parts]).sum(0) for name in together}
        for name, value in together.items():
            torch.testing.assert_close(summed[name], value, rtol=1e-5, atol=1e-5)
            assert value.dtype == torch.float64
        assert task.score(summed) == pytest.approx(task.score(together), rel=1e-5)


@EVERY_CASE
def test_the_tally_s_loss_is_the_training_loss(family: Family, head: Head) -> None:
    model, task = set_up(family, head)
    batch = task.collate(task.encode(ROWS))
    loss, sums = task.loss(model, batch), task.tally(model, batch)
    total = float(loss.total.detach())
    assert float(sums["loss"]) == pytest.approx(total, rel=1e-6)
    score = task.score(sums)
    assert score["loss"] == pytest.approx(total / loss.units, rel=1e-6)
    assert task.headline in score


@EVERY_CASE
def test_evaluation_is_the_same_every_time(family: Family, head: Head) -> None:
    _, task = set_up(family, head)
    examples = task.encode(ROWS)
    one, two = task.collate(examples), task.collate(examples)
    assert all(torch.equal(one[name], two[name]) for name in one)


@EVERY_CASE
def test_a_tally_has_no_gradient_and_a_loss_is_float32(family: Family, head: Head) -> None:
    model, task = set_up(family, head)
    batch = task.collate(task.encode(ROWS))
    assert not any(value.requires_grad for value in task.tally(model, batch).values())
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.loss(model, batch)
    assert loss.total.dtype == torch.float32
    assert loss.total.requires_grad


@EVERY_CASE
def test_no_rows_give_no_examples_and_no_figures(family: Family, head: Head) -> None:
    _, task = set_up(family, head)
    assert len(task.encode(ROWS.slice(0, 0))) == 0
    assert task.score({}) == {}


@EVERY_CASE
def test_examples_are_compact(family: Family, head: Head) -> None:
    _, task = set_up(family, head)
    for example in task.encode(ROWS):
        for tensor in example.values():
            assert tensor.dtype == (torch.int32 if tensor.ndim else torch.int64)
            assert tensor.ndim <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tiny_models_forward_pass_has_no_mean_loss(family: Family) -> None:
    model, task = set_up(family, "classification")
    seen: list[set[str]] = []
    model.register_forward_pre_hook(lambda _, __, inputs: seen.append(set(inputs)), with_kwargs=True)
    task.loss(model, task.collate(task.encode(ROWS)))
    assert "labels" not in seen[0]
    assert seen[0] <= set(inspect.signature(model.forward).parameters)
