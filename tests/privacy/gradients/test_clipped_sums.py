"""Clipped sums of small modules whose gradients can be written down, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from foedus.core import trees
from foedus.core.errors import ModelError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.privacy.gradients.clipped_sums import ClippedSums
from privacy.gradients.one_by_one import clipped_sum, distance, gradients_within
from tiny_models import every_parameter

RECORDS, TOKENS, WIDTH = 4, 5, 6


def inputs(seed: int = 0, records: int = RECORDS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(records, TOKENS, WIDTH, generator=generator, dtype=torch.float64)


class TwiceUsed(nn.Module):
    """One layer that is passed twice, as ALBERT's are, and a table that is tied to the output."""

    def __init__(self) -> None:
        super().__init__()
        with torch_seeded(SeedKey.from_seed(0)):
            self.table = nn.Embedding(9, WIDTH, padding_idx=2)
            self.layer = nn.Linear(WIDTH, WIDTH)
            self.norm = nn.LayerNorm(WIDTH)
            self.output = nn.Linear(WIDTH, 9, bias=False)
        self.output.weight = self.table.weight
        self.double()

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.table(ids)
        for _ in range(2):
            hidden = self.norm(torch.tanh(self.layer(hidden)) + hidden)
        logits: Tensor = self.output(hidden)
        return logits


def token_losses(model: nn.Module, ids: Tensor) -> Tensor:
    logits = model(ids)
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view(ids.shape).mean(1)


def some_ids(records: int = RECORDS, tokens: int = TOKENS) -> Tensor:
    return torch.randint(0, 9, (records, tokens), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("tokens", [1, 2, 5, 30])  # few: ghost norms; many: the gradients themselves
def test_a_weight_that_is_used_twice_is_clipped_on_the_norm_of_the_summed_gradient(tokens: int) -> None:
    model, ids = TwiceUsed(), some_ids(tokens=tokens)
    parameters = every_parameter(model)
    gradients = gradients_within(token_losses(model, ids), parameters)
    clip_norm = 0.5 * min(trees.norm(gradient) for gradient in gradients)
    sums = ClippedSums(model, parameters, clip_norm)
    sums.add(lambda: token_losses(model, ids), RECORDS)
    assert distance(sums.take(), clipped_sum(gradients, clip_norm)) < 1e-12


def test_micro_batches_add_up_to_their_logical_batch() -> None:
    model, ids = TwiceUsed(), some_ids(records=7)
    sums = ClippedSums(model, every_parameter(model), clip_norm=0.3)
    sums.add(lambda: token_losses(model, ids), 7)
    whole = sums.take()
    for part in (ids[:3], ids[3:4], ids[4:]):
        sums.add(lambda part=part: token_losses(model, part), len(part))  # type: ignore[misc] # bound now
    assert distance(sums.take(), whole) < 1e-12


def test_taking_starts_anew_and_nothing_gives_zeros() -> None:
    model, ids = TwiceUsed(), some_ids()
    sums = ClippedSums(model, every_parameter(model), clip_norm=0.3)
    sums.add(lambda: token_losses(model, ids), RECORDS)
    first = sums.take()
    assert trees.norm(first) > 0
    nothing = sums.take()
    assert trees.mismatch(nothing, every_parameter(model)) is None
    assert trees.norm(nothing) == 0
    sums.add(lambda: token_losses(model, ids), RECORDS)
    assert trees.norm(trees.subtract(sums.take(), first)) == 0


def test_the_losses_come_back_and_the_model_is_left_as_it_was() -> None:
    model, ids = TwiceUsed(), some_ids()
    model.norm.bias.requires_grad_(False)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = trees.clone(every_parameter(model))
    sums = ClippedSums(model, parameters, clip_norm=0.3)
    losses = sums.add(lambda: token_losses(model, ids), RECORDS)
    torch.testing.assert_close(losses, token_losses(model, ids).detach())
    assert not losses.requires_grad
    assert set(sums.take()) == set(parameters)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert parameter.requires_grad == (name in parameters)


def test_small_gradients_are_not_scaled_up() -> None:
    model, ids = TwiceUsed(), some_ids()
    sums = ClippedSums(model, every_parameter(model), clip_norm=1e6)
    sums.add(lambda: token_losses(model, ids), RECORDS)
    found = sums.take()
    for name, gradient in zip(
        found, torch.autograd.grad(token_losses(model, ids).sum(), [*model.parameters()]), strict=True
    ):
        torch.testing.assert_close(found[name], gradient)


@pytest.mark.parametrize("bad", [float("inf"), float("nan"), 1e200])
def test_a_record_whose_gradient_is_not_finite_adds_nothing_and_spoils_nothing(bad: float) -> None:
    model, values = nn.Sequential(nn.Linear(WIDTH, 3), nn.LayerNorm(3)).double(), inputs()
    sums = ClippedSums(model, every_parameter(model), clip_norm=0.3)
    sums.add(lambda: model(values[1:]).pow(3).sum((1, 2)), RECORDS - 1)
    without = sums.take()
    values[0, 0, 0] = bad
    sums.add(lambda: model(values).pow(3).sum((1, 2)), RECORDS)
    assert distance(sums.take(), without) < 1e-12


def test_a_batch_of_no_records_is_for_the_caller_to_skip() -> None:
    model = nn.Linear(WIDTH, 3)
    sums = ClippedSums(model, every_parameter(model), clip_norm=1.0)
    with pytest.raises(ValueError, match="skip it, and still add noise"):
        sums.add(lambda: model(torch.zeros(0, WIDTH)).sum(1), 0)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan")])
def test_a_clip_norm_is_above_zero(clip_norm: float) -> None:
    model = nn.Linear(WIDTH, 3)
    with pytest.raises(ValueError, match="must be above 0"):
        ClippedSums(model, every_parameter(model), clip_norm)


def test_a_loss_for_the_whole_batch_is_refused() -> None:
    model, values = nn.Linear(WIDTH, 3).double(), inputs()
    sums = ClippedSums(model, every_parameter(model), clip_norm=1.0)
    with pytest.raises(ValueError, match="must be 4 differentiable ones"):
        sums.add(lambda: model(values).mean(), RECORDS)
    with pytest.raises(ValueError, match="must be 4 differentiable ones"):
        sums.add(lambda: model(values).sum((1, 2)).detach(), RECORDS)


class Odd(nn.Module):
    """Uses its layer's weight in some other way."""

    def __init__(self, use: Callable[[nn.Linear, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH).double()
        self.use = use

    def forward(self, values: Tensor) -> Tensor:
        return self.use(self.layer, values)


@pytest.mark.parametrize(
    "use",
    [
        lambda layer, values: values @ layer.weight,
        lambda layer, values: values @ layer.weight.T,
        lambda layer, values: layer(values) + layer.weight[0],
        lambda layer, values: layer(values) + layer.weight.detach()[0],
        lambda layer, values: layer(values) * torch.stack([layer.bias, layer.bias]).sum(),
        lambda layer, values: layer(values.flatten(0, 1)).view(values.shape),
        lambda layer, values: layer(values.transpose(0, 1)).transpose(0, 1),
        lambda layer, values: F.linear(layer.weight, layer.weight).sum() + values,
        lambda layer, values: torch.einsum("btd,ed->bte", values, layer.weight),
    ],
)
def test_a_use_that_hides_whose_gradient_is_whose_raises_and_names_the_parameter(use: Any) -> None:
    model, values = Odd(use), inputs()
    sums = ClippedSums(model, every_parameter(model), clip_norm=1.0)
    with pytest.raises(ModelError, match=r"clip the gradient of each record: layer\.(weight|bias)"):
        sums.add(lambda: model(values).sum((1, 2)), RECORDS)
    assert trees.norm(sums.take()) == 0


def test_reading_a_weight_s_shape_or_type_hurts_nothing() -> None:
    model, values = (
        Odd(lambda layer, values: layer(values.to(layer.weight.dtype)).view(-1, *values.shape[1:])),
        inputs(),
    )
    sums = ClippedSums(model, every_parameter(model), clip_norm=1.0)
    sums.add(lambda: model(values).sum((1, 2)), RECORDS)
    assert trees.norm(sums.take()) > 0


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, 2)
        self.scale = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Scaled(), "scale belongs to a Scaled"),
        (nn.Sequential(nn.Conv1d(3, 3, 1)), r"0\.weight belongs to a Conv1d"),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), r"1 \(BatchNorm1d\) normalises over a batch"),
        (nn.Sequential(nn.BatchNorm1d(2, affine=False, track_running_stats=False), nn.Linear(2, 2)), "over a batch"),
        (nn.Embedding(5, 2, max_norm=1.0), "weight belongs to a Embedding"),
        (nn.MultiheadAttention(4, 2), "in_proj_weight belongs to a MultiheadAttention"),
    ],
)
def test_what_cannot_be_clipped_by_record_is_refused_by_name(model: nn.Module, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        ClippedSums(model, every_parameter(model), clip_norm=1.0)


def test_a_trainable_parameter_that_is_not_clipped_is_refused() -> None:
    model = nn.Linear(WIDTH, 2)
    with pytest.raises(ValueError, match="bias is trainable, but not among the parameters"):
        ClippedSums(model, {name: p for name, p in model.named_parameters() if name != "bias"}, clip_norm=1.0)
