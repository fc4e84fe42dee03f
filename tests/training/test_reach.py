"""No parameter ever moves further than the settings say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foedus.training.optimizers import make_optimizers
from foedus.training.reach import adam_ratio, reach
from foedus.training.settings import LocalSettings

RATE = 0.01


def moved(chosen: LocalSettings, gradients: list[float], start: float = 0.0) -> float:
    """Return how far one parameter moves along these gradients."""
    weight = nn.Parameter(torch.full((1, 1), start, dtype=torch.float64))
    [optimizer] = make_optimizers({"w": weight}, chosen)
    furthest = 0.0
    for gradient in gradients:
        weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimizer.step()
        furthest = max(furthest, abs(float(weight.detach()) - start))
    return furthest


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 1e-6, -1e-6, 1.0, -1.0, 1e3, 1e6]), min_size=1, max_size=60),
    st.sampled_from([(0.9, 0.999), (0.9, 0.95), (0.5, 0.5)]),
    st.sampled_from([0.0, 0.1]),
)
def test_adamw_goes_no_further_whatever_the_gradients(
    gradients: list[float], betas: tuple[float, float], decay: float
) -> None:
    chosen = LocalSettings(RATE, betas=betas, weight_decay=decay, epsilon=1e-30)
    bound = reach(chosen, len(gradients), 1, 4.0, None)
    assert bound is not None
    assert moved(chosen, gradients, start=1.0) <= bound * (1 + 1e-9)


def test_the_bound_is_reached_but_for_a_little() -> None:
    """Gradients that make the inequality of Cauchy and Schwarz an equation come near it."""
    beta1, beta2, steps = 0.9, 0.999, 50
    gradients = [(beta2 / beta1) ** -step for step in range(steps)]
    one_step = adam_ratio(beta1, beta2, steps)
    before = LocalSettings(1e-300, betas=(beta1, beta2), epsilon=1e-300)
    weight = nn.Parameter(torch.zeros((1, 1), dtype=torch.float64))
    [optimizer] = make_optimizers({"w": weight}, before)
    for number, gradient in enumerate(reversed(gradients)):
        if number == steps - 1:
            optimizer.param_groups[0]["lr"] = 1.0
        weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimizer.step()
    assert abs(float(weight.detach())) <= one_step * (1 + 1e-9)
    assert abs(float(weight.detach())) > 0.99 * one_step


def test_a_kept_optimizer_may_be_at_any_step() -> None:
    kept = reach(LocalSettings(RATE, keep_optimizer=True), 10, 1, 0.0, None)
    new = reach(LocalSettings(RATE), 10, 1, 0.0, None)
    assert kept == pytest.approx(10 * RATE * adam_ratio(0.9, 0.999, None))
    assert new is not None
    assert kept is not None
    assert new < kept / 5


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_goes_no_further_than_its_clipped_gradients(momentum: float) -> None:
    chosen = LocalSettings(RATE, optimizer="sgd", momentum=momentum, weight_decay=0.1)
    bound = reach(chosen, 40, 1, 2.0, 0.5)
    assert bound is not None
    assert 0.3 * bound < moved(chosen, [0.5] * 40, start=-1.0) <= bound


def test_sgd_without_a_clip_has_no_bound() -> None:
    assert reach(LocalSettings(RATE, optimizer="sgd"), 10, 1, 0.0, None) is None


def test_muon_goes_no_further_in_a_matrix_of_any_shape() -> None:
    for shape in ((4, 64), (64, 4), (16, 16)):
        chosen: Any = LocalSettings(RATE, optimizer="muon", momentum=0.9)
        weight = nn.Parameter(torch.zeros(shape))
        [optimizer] = make_optimizers({"w": weight}, chosen, ("w",))
        torch.manual_seed(0)
        for _ in range(10):
            weight.grad = torch.randn(shape)
            optimizer.step()
        bound = reach(chosen, 10, max(shape), 0.0, None)
        assert bound is not None
        assert float(weight.detach().abs().max()) <= bound
