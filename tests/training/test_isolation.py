"""Participants share one model and one optimizer, and nothing of one is seen by the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Clock
from foedus.federation.protocols import LocalResult, ServerState
from foedus.federation.round import play_round
from foedus.strategies.fedavg import fedavg
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.workspace import Workspace
from strategies.quadratics import federation
from training.small_task import RowFitting, examples, site, small_model, workspace_for

SGD = LocalSettings(learning_rate=0.05, optimizer="sgd", momentum=0.9, batch_size=2, accumulation=2)
SETTINGS: Mapping[str, LocalSettings] = {
    "sgd with momentum": SGD,
    "adamw": replace(SGD, optimizer="adamw", weight_decay=0.1),
    "sgd, kept": replace(SGD, keep_optimizer=True),
    "adamw, kept": replace(SGD, optimizer="adamw", keep_optimizer=True),
}
CLOCK = Clock(1, 4)
TASK = RowFitting(hidden=0.3)


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest) -> LocalSettings:
    return SETTINGS[request.param]


def initial() -> ParamTree:
    return trees.clone(dict(small_model().named_parameters()))


def shared(settings: LocalSettings) -> Workspace:
    return workspace_for(settings, small_model(dropout=0.4))


def participant(workspace: Workspace, settings: LocalSettings, name: str, task: RowFitting = TASK) -> SiteTask:
    return site(settings, examples(9, seed=ord(name)), workspace=workspace, name=name, task=task, test=examples(5))


def outcome(result: LocalResult) -> dict[str, ParamTree]:
    return {"params": trees.clone(result.params), "optimizer": trees.clone(result.optimizer or {})}


def same(left: Mapping[str, ParamTree], right: Mapping[str, ParamTree]) -> bool:
    return all(
        left[part].keys() == right[part].keys()
        and all(torch.equal(left[part][name], right[part][name]) for name in left[part])
        for part in left
    )


def alone(settings: LocalSettings, name: str) -> dict[str, ParamTree]:
    return outcome(participant(shared(settings), settings, name).train(initial(), CLOCK))


def train(task: SiteTask) -> None:
    task.train(initial(), CLOCK)


def evaluate(task: SiteTask) -> None:
    task.evaluate(trees.scale(initial(), 3.0), "test")


def differentiate(task: SiteTask) -> None:
    task.gradient(trees.scale(initial(), 3.0))


def fail_before_the_first_step(task: SiteTask) -> None:
    """Raise in the second batch of a logical batch, when the first one's gradient is there already."""
    rows = list(task.splits["train"])
    rows[0] = {**rows[0], "targets": rows[0]["targets"] + 1000}
    broken = replace(task, task=RowFitting(trouble=OSError("the disk is full")), splits={"train": rows[:4]})
    for number in range(20):  # some order of batches has the broken one second
        with pytest.raises(OSError, match="disk"):
            broken.train(initial(), Clock(number, 20))
        if any(parameter.grad is not None for parameter in task.workspace.parameters.values()):
            return
    pytest.fail("no gradient was left behind, so that this tests nothing")


def diverge(task: SiteTask) -> None:
    rows = [{**row, "targets": row["targets"] * torch.nan} for row in task.splits["train"]]
    with pytest.raises(ParticipantError, match="its training loss is nan"):
        replace(task, splits={"train": rows}).train(initial(), CLOCK)


@pytest.mark.parametrize("what_a_does", [train, evaluate, differentiate, fail_before_the_first_step, diverge])
def test_after_whatever_a_did_b_trains_as_if_alone(
    settings: LocalSettings, what_a_does: Callable[[SiteTask], None]
) -> None:
    workspace = shared(settings)
    what_a_does(participant(workspace, settings, "a"))
    assert same(outcome(participant(workspace, settings, "b").train(initial(), CLOCK)), alone(settings, "b"))


@pytest.mark.parametrize("what_a_does", [train, fail_before_the_first_step, diverge])
def test_after_whatever_a_did_b_evaluates_and_differentiates_as_if_alone(
    settings: LocalSettings, what_a_does: Callable[[SiteTask], None]
) -> None:
    workspace, start = shared(settings), initial()
    first, second = participant(workspace, settings, "a"), participant(workspace, settings, "b")
    second.evaluate(start, "test")
    what_a_does(first)
    by_itself = participant(shared(settings), settings, "b")
    assert same({"sums": second.evaluate(start, "test")}, {"sums": by_itself.evaluate(start, "test")})
    assert same({"gradient": second.gradient(start)}, {"gradient": by_itself.gradient(start)})


@pytest.mark.parametrize("name", ["sgd, kept", "adamw, kept"])
def test_kept_optimizers_do_not_mix(name: str) -> None:
    settings = SETTINGS[name]

    def two_rounds(workspace: Workspace, *names: str) -> dict[str, dict[str, ParamTree]]:
        results: dict[str, dict[str, ParamTree]] = {}
        for number in range(2):
            for who in names:
                kept = results[who]["optimizer"] if who in results else None
                results[who] = outcome(
                    participant(workspace, settings, who).train(initial(), Clock(number, 2), optimizer=kept)
                )
        return results

    together = two_rounds(shared(settings), "a", "b", "c")
    assert all(same(together[who], two_rounds(shared(settings), who)[who]) for who in "abc")


@pytest.mark.parametrize("order", ["abc", "cab", "bca"])
def test_the_order_of_participants_changes_nothing_beyond_rounding(settings: LocalSettings, order: str) -> None:
    def after_two_rounds(names: str) -> ParamTree:
        workspace = shared(settings)
        tasks = {name: participant(workspace, settings, name) for name in names}
        run = federation(fedavg(), tasks, rounds=2)
        state = ServerState(0, initial())
        for _ in range(2):
            state, report = play_round(run, state)
            assert not report.collected.left_out
        return state.params

    expected = after_two_rounds("abc")
    for parameter, tensor in after_two_rounds(order).items():
        torch.testing.assert_close(tensor, expected[parameter], rtol=1e-5, atol=1e-6)


def test_randomness_in_training_follows_seed_participant_and_round() -> None:
    settings = replace(SGD, group_by_length=False, batch_size=100, accumulation=1)
    rows = examples(9)

    def trained(name: str, number: int, task: RowFitting, dropout: float) -> dict[str, ParamTree]:
        workspace = workspace_for(settings, small_model(dropout))
        who = site(settings, rows, workspace=workspace, name=name, task=task)
        return outcome(who.train(initial(), Clock(number, 9)))

    for task, dropout in ((RowFitting(), 0.4), (RowFitting(hidden=0.3), 0.0)):
        first = trained("a", 0, task, dropout)
        assert same(first, trained("a", 0, task, dropout))
        assert not same(first, trained("b", 0, task, dropout))
        assert not same(first, trained("a", 1, task, dropout))


def test_training_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    participant(shared(SGD), SGD, "a").train(initial(), CLOCK)
    assert torch.equal(torch.rand(3), expected)


def test_the_global_generator_does_not_reach_training() -> None:
    torch.manual_seed(1)
    first = alone(SGD, "a")
    torch.manual_seed(2)
    assert same(first, alone(SGD, "a"))
