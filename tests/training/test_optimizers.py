from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from foedus.core import trees
from foedus.federation.messages import Clock
from foedus.training.optimizers import make_optimizers
from foedus.training.settings import LocalSettings
from foedus.training.workspace import Workspace
from training.small_task import CPU, examples, site, small_model

MUON = LocalSettings(
    learning_rate=0.02, optimizer="muon", momentum=0.95, weight_decay=0.1, batch_size=4, keep_optimizer=True
)
EVERY = [MUON, replace(MUON, optimizer="adamw"), replace(MUON, optimizer="sgd"), replace(MUON, momentum=0.0)]
HIDDEN = ("0.weight",)


def workspace(settings: LocalSettings = MUON) -> Workspace:
    model = small_model()
    return Workspace(model, dict(model.named_parameters()), settings, CPU, HIDDEN)


def test_every_parameter_has_one_optimizer() -> None:
    parameters = dict(small_model().named_parameters())
    muon, adamw = make_optimizers(parameters, MUON, HIDDEN)
    assert isinstance(muon, torch.optim.Muon)
    assert isinstance(adamw, torch.optim.AdamW)
    given = [p for optimizer in (muon, adamw) for group in optimizer.param_groups for p in group["params"]]
    assert len(given) == len(parameters) == len(set(given))
    assert muon.param_groups[0]["params"] == [parameters["0.weight"]]


def test_muon_steps_are_torchs_own_and_the_rest_is_adamws() -> None:
    here, model = workspace(), small_model()
    hidden = [model.get_parameter("0.weight")]
    muon = torch.optim.Muon(hidden, lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    rest = [p for name, p in model.named_parameters() if name != "0.weight"]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [muon, torch.optim.AdamW(groups, lr=0.02, fused=True)]
    generator = torch.Generator().manual_seed(0)
    for rate in (0.01, 0.02, 0.005):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            here.parameters[name].grad = parameter.grad.clone()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        here.step(rate, None, None, {})
    for name, parameter in model.named_parameters():
        assert torch.equal(here.parameters[name], parameter)


def test_a_step_in_a_hidden_matrix_is_as_long_as_one_of_adamw() -> None:
    """Liu et al.'s scaling: the root mean square of a step is 0.2 learning rates, which AdamW's usually is."""
    model = nn.Sequential(nn.Linear(48, 96, bias=False))
    settings = replace(MUON, weight_decay=0.0)
    here = Workspace(model, dict(model.named_parameters()), settings, CPU, ("0.weight",))
    before = here.parameters["0.weight"].detach().clone()
    here.parameters["0.weight"].grad = torch.randn(96, 48, generator=torch.Generator().manual_seed(0)) * 1e-3
    here.step(0.01, None, None, {})
    moved = (here.parameters["0.weight"].detach() - before).square().mean().sqrt()
    assert float(moved) == pytest.approx(0.2 * 0.01, rel=0.25)


@pytest.mark.parametrize("settings", EVERY)
def test_the_declared_state_is_the_state_after_a_step(settings: LocalSettings) -> None:
    here = workspace(settings)
    declared = here.optimizer_like()
    site(settings, examples(8), workspace=here).train(trees.clone(here.parameters), Clock(0, 1))
    state = here.optimizer_state()
    assert trees.mismatch(state, declared) is None
    assert all(state[name].dtype == declared[name].dtype for name in declared)


@pytest.mark.parametrize("settings", EVERY)
def test_a_state_of_zeros_is_that_before_the_first_step(settings: LocalSettings) -> None:
    start = trees.clone(dict(small_model().named_parameters()))
    zeros = {name: torch.zeros(t.shape, dtype=t.dtype) for name, t in workspace(settings).optimizer_like().items()}
    fresh, given = (
        site(settings, examples(8), workspace=workspace(settings)).train(start, Clock(0, 1), optimizer=state).params
        for state in (None, zeros)
    )
    assert all(torch.equal(fresh[name], given[name]) for name in start)


def test_whoever_trains_next_finds_both_optimizers_fresh() -> None:
    shared, start = workspace(), trees.clone(dict(small_model().named_parameters()))
    site(MUON, examples(9, seed=1), workspace=shared, name="a").train(start, Clock(0, 1))
    after = trees.clone(site(MUON, examples(9), workspace=shared, name="b").train(start, Clock(0, 1)).params)
    alone = site(MUON, examples(9), workspace=workspace(), name="b").train(start, Clock(0, 1)).params
    assert all(torch.equal(after[name], alone[name]) for name in start)


def test_both_optimizers_states_go_into_another_workspace_and_on() -> None:
    def train(where: Workspace, number: int, params: trees.ParamTree, state: trees.ParamTree | None) -> None:
        site(MUON, examples(9), workspace=where).train(params, Clock(number, 2), optimizer=state)

    whole = workspace()
    train(whole, 0, trees.clone(whole.parameters), None)
    between, state = trees.clone(whole.parameters), whole.optimizer_state()
    train(whole, 1, between, state)

    other = workspace()
    train(other, 1, between, state)
    assert {name.rpartition("/")[2] for name in state} == {"momentum_buffer", "step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(whole.parameters[name], other.parameters[name]) for name in between)


def test_muon_without_hidden_matrices_is_adamw() -> None:
    parameters = dict(small_model().named_parameters())
    (only,) = make_optimizers(parameters, MUON, ())
    assert isinstance(only, torch.optim.AdamW)
