from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from foedus.core import trees
from foedus.federation.protocols import Correction
from foedus.training.settings import LocalSettings
from foedus.training.workspace import Workspace
from training.small_task import CPU, small_model, workspace_for

PLAIN = LocalSettings(learning_rate=0.5, optimizer="sgd", gradient_clip=None)


def single(settings: LocalSettings, value: float = 2.0) -> tuple[Workspace, nn.Parameter]:
    """Return a workspace over one matrix of one number."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    workspace = workspace_for(settings, model)
    return workspace, workspace.parameters["weight"]


def stepped(
    settings: LocalSettings,
    gradient: float,
    *,
    clip: float | None = None,
    correction: Correction | None = None,
    anchor: float = 2.0,
    steps: int = 1,
) -> float:
    workspace, weight = single(settings)
    for _ in range(steps):
        weight.grad = torch.tensor([[gradient]])
        workspace.step(settings.learning_rate, clip, correction, {"weight": torch.tensor([[anchor]])})
    return weight.item()


def offset(value: float) -> dict[str, Tensor]:
    return {"weight": torch.tensor([[value]])}


def test_a_step_descends_the_gradient_and_forgets_it() -> None:
    workspace, weight = single(PLAIN)
    weight.grad = torch.tensor([[3.0]])
    workspace.step(0.5, None, None, {})
    assert weight.item() == 0.5
    assert weight.grad is None


def test_the_gradient_is_clipped_before_it_is_corrected() -> None:
    # 300 is clipped to 1; the offset of 5 stays whole: 2 - 0.5 (1 + 5)
    assert stepped(PLAIN, 300.0, clip=1.0, correction=Correction(offset=offset(5.0))) == pytest.approx(-1.0, rel=1e-6)


def test_clipping_counts_all_tensors_together() -> None:
    model = small_model()
    workspace = workspace_for(PLAIN, model)
    before = trees.clone(workspace.parameters)
    for parameter in workspace.parameters.values():
        parameter.grad = torch.full_like(parameter, 7.0)
    workspace.step(1.0, 0.25, None, {})
    moved = trees.subtract(before, trees.clone(workspace.parameters))
    assert trees.norm(moved) == pytest.approx(0.25, rel=1e-4)


def test_a_gradient_shorter_than_the_clip_is_left_alone() -> None:
    assert stepped(PLAIN, 0.5, clip=1.0) == 1.75


def test_the_pull_towards_the_anchor_is_part_of_the_gradient() -> None:
    # gradient 1 + strength 4 * (2 - 1.5) = 3
    assert stepped(PLAIN, 1.0, correction=Correction(strength=4.0), anchor=1.5) == 0.5


def test_a_decoupled_pull_is_not_rescaled_by_an_adaptive_optimizer() -> None:
    adamw = replace(PLAIN, optimizer="adamw", learning_rate=0.125)
    free = stepped(adamw, 1e-3, anchor=1.0)
    pulled = stepped(adamw, 1e-3, correction=Correction(strength=4.0, decoupled=True), anchor=1.0)
    coupled = stepped(adamw, 1e-3, correction=Correction(strength=4.0), anchor=1.0)
    assert pulled == pytest.approx(free - 0.125 * 4.0 * (2.0 - 1.0), rel=1e-6)
    assert coupled == pytest.approx(free, rel=1e-4)  # Adam's first step is the learning rate, whatever the gradient


def test_a_corrections_pull_enters_the_momentum() -> None:
    heavy = replace(PLAIN, momentum=0.5)
    x, velocity = 2.0, 0.0
    for _ in range(3):
        velocity = 0.5 * velocity + 1.0 + 2.0 * (x - 1.5)
        x -= 0.5 * velocity
    assert stepped(heavy, 1.0, correction=Correction(strength=2.0), anchor=1.5, steps=3) == pytest.approx(x, rel=1e-6)


def test_weight_decay_spares_biases_and_norms() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    settings = replace(PLAIN, optimizer="adamw", weight_decay=0.5, learning_rate=0.1)
    workspace = workspace_for(settings, model)
    for parameter in workspace.parameters.values():
        nn.init.constant_(parameter, 1.0)
        parameter.grad = torch.zeros_like(parameter)
    workspace.step(0.1, None, None, {})
    values = {name: parameter.flatten()[0].item() for name, parameter in workspace.parameters.items()}
    assert values == {"0.weight": pytest.approx(0.95), "0.bias": 1.0, "1.weight": 1.0, "1.bias": 1.0}


def test_parameters_without_a_gradient_stay_whatever_the_correction() -> None:
    workspace, weight = single(PLAIN)
    workspace.step(0.5, 1.0, Correction(offset=offset(9.0), strength=1.0), {"weight": torch.zeros(1, 1)})
    assert weight.item() == 2.0


def test_loading_overwrites_the_models_own_memory() -> None:
    workspace, weight = single(PLAIN)
    where = weight.data_ptr()
    workspace.load({"weight": torch.tensor([[9.0]])})
    assert (weight.item(), weight.data_ptr()) == (9.0, where)


def test_parameters_that_are_loaded_already_are_not_copied_again() -> None:
    workspace, weight = single(PLAIN)
    params = {"weight": torch.tensor([[9.0]])}
    workspace.load(params)
    with torch.no_grad():
        weight.fill_(1.0)  # shows whether the next call copies
    workspace.load(params)
    assert weight.item() == 1.0


def test_after_training_began_the_same_parameters_are_copied_again() -> None:
    workspace, weight = single(PLAIN)
    params = {"weight": torch.tensor([[9.0]])}
    workspace.load(params)
    workspace.begin(params, None)
    weight.grad = torch.ones(1, 1)
    workspace.step(1.0, None, None, {})
    assert weight.item() == 8.0
    workspace.load(params)
    assert weight.item() == 9.0


OPTIMIZERS = [replace(PLAIN, optimizer="adamw"), replace(PLAIN, momentum=0.9)]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=["adamw", "sgd with momentum"])
def test_an_optimizers_state_goes_into_another_workspace_and_on(settings: LocalSettings) -> None:
    def take_steps(workspace: Workspace, weight: nn.Parameter, gradients: list[float]) -> float:
        for gradient in gradients:
            weight.grad = torch.tensor([[gradient]])
            workspace.step(0.1, None, None, {})
        return weight.item()

    workspace, weight = single(settings)
    expected = take_steps(workspace, weight, [1.0, -3.0, 0.5, 0.5])

    first, first_weight = single(settings)
    take_steps(first, first_weight, [1.0, -3.0])
    second, second_weight = single(settings)
    second.begin(trees.clone(first.parameters), first.optimizer_state())
    assert take_steps(second, second_weight, [0.5, 0.5]) == expected


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=["adamw", "sgd with momentum"])
def test_a_kept_state_is_a_copy(settings: LocalSettings) -> None:
    workspace, weight = single(settings)
    for gradient in (1.0, 5.0):
        weight.grad = torch.tensor([[gradient]])
        kept = workspace.optimizer_state()
        workspace.step(0.1, None, None, {})
    before = trees.clone(kept)
    workspace.load_optimizer(kept)
    weight.grad = torch.tensor([[100.0]])
    workspace.step(0.1, None, None, {})
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[name], before[name]) for name in kept)


def test_a_kept_state_is_whole_though_others_trained_fewer_parameters() -> None:
    """As with experts that one participant's rows never reach: then its optimizer has no state for them."""
    settings = replace(PLAIN, optimizer="adamw")
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))

    def take_step(workspace: Workspace, *names: str) -> None:
        for name in names:
            workspace.parameters[name].grad = torch.ones(1, 1)
        workspace.step(0.1, None, None, {})

    first = workspace_for(settings, model)
    take_step(first, "0.weight", "1.weight")
    kept = first.optimizer_state()

    second = workspace_for(settings, model)
    take_step(second, "0.weight")
    second.load_optimizer(kept)
    assert second.optimizer_state().keys() == kept.keys()
    assert all(torch.equal(second.optimizer_state()[name], kept[name]) for name in kept)


def test_dropout_is_switched_with_the_mode() -> None:
    model = small_model(dropout=0.5)
    workspace = Workspace(model, dict(model.named_parameters()), PLAIN, CPU)
    for training in (True, False, True):
        workspace.mode(training=training)
        assert [module.training for module in model.modules()] == [training] * 5
