"""One participant is plain training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.messages import Clock
from foedus.federation.protocols import LocalResult, ServerState
from foedus.federation.round import play_round
from foedus.strategies.fedavg import fedavg
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from strategies.quadratics import federation
from training.plain_loop import train_plainly
from training.small_task import RowFitting, examples, site, small_model, workspace_for

SGD = LocalSettings(learning_rate=0.1, optimizer="sgd", batch_size=16, gradient_clip=None)
SETTINGS: Mapping[str, LocalSettings] = {
    "sgd": SGD,
    "sgd with momentum": replace(SGD, momentum=0.9, keep_optimizer=True),
    "sgd, clipped": replace(SGD, gradient_clip=0.3),
    "adamw": replace(SGD, optimizer="adamw", learning_rate=0.01, weight_decay=0.1, keep_optimizer=True),
}


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest) -> LocalSettings:
    return SETTINGS[request.param]


def initial() -> ParamTree:
    return trees.clone(dict(small_model().named_parameters()))


def same(left: ParamTree, right: ParamTree) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def within_one_ulp(actual: ParamTree, expected: ParamTree, before: ParamTree) -> bool:
    """Return whether the trees differ by at most one unit in the last place of the numbers subtracted.

    An update is start - trained in float32, which is rounded once; adding it back is exact in float64.
    """
    step = torch.finfo(torch.float32).eps
    return all(
        bool(((actual[n] - expected[n]).abs() <= step * torch.maximum(before[n].abs(), expected[n].abs())).all())
        for n in expected
    )


def trained(participant: SiteTask, round_number: int = 0, rounds: int = 1) -> LocalResult:
    return participant.train(initial(), Clock(round_number, rounds))


def test_one_local_step_is_torchs_own_bit_for_bit(settings: LocalSettings) -> None:
    participant = site(settings)
    assert participant.steps_of(0) == 1
    assert same(trained(participant).params, train_plainly(small_model(), participant, rounds=1))


def test_an_epoch_of_local_steps_is_torchs_own_bit_for_bit(settings: LocalSettings) -> None:
    participant = site(replace(settings, batch_size=3, epochs=2))
    assert participant.steps_of(0) == 8
    assert same(trained(participant).params, train_plainly(small_model(), participant, rounds=1))


def test_one_participant_one_step_equals_plain_training_through_a_whole_round(settings: LocalSettings) -> None:
    participant = site(settings)
    state, report = play_round(federation(fedavg(), {"a": participant}, rounds=1), ServerState(0, initial()))
    assert report.stood
    assert within_one_ulp(state.params, train_plainly(small_model(), participant, rounds=1), before=initial())


def test_identical_participants_equal_plain_training(settings: LocalSettings) -> None:
    """Three participants of one key and one workspace: each trains on the very same batches."""
    one = site(replace(settings, batch_size=4))
    state, _ = play_round(federation(fedavg(), {"a": one, "b": one, "c": one}, rounds=1), ServerState(0, initial()))
    assert within_one_ulp(state.params, train_plainly(small_model(), one, rounds=1), before=initial())


@pytest.mark.parametrize("name", ["sgd with momentum", "adamw"])
def test_kept_optimizers_over_rounds_are_one_uninterrupted_loop_bit_for_bit(name: str) -> None:
    participant = site(replace(SETTINGS[name], batch_size=4, schedule="linear"))
    params, optimizer = initial(), None
    for number in range(4):
        result = participant.train(params, Clock(number, 4), optimizer=optimizer)
        params, optimizer = trees.clone(result.params), result.optimizer
    assert same(params, train_plainly(small_model(), participant, rounds=4))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_whole_run_of_one_participant_is_one_uninterrupted_loop(name: str) -> None:
    participant = site(replace(SETTINGS[name], batch_size=4, schedule="cosine", warmup=0.2))
    run = federation(fedavg(), {"a": participant}, rounds=5)
    state = ServerState(0, initial())
    for _ in range(5):
        state, _ = play_round(run, state)
    expected = train_plainly(small_model(), participant, rounds=5)
    for parameter, tensor in expected.items():
        torch.testing.assert_close(state.params[parameter], tensor, rtol=1e-5, atol=1e-6)


def test_without_keeping_it_every_round_starts_with_a_fresh_optimizer() -> None:
    participant = site(replace(SETTINGS["adamw"], keep_optimizer=False, batch_size=4))
    first = participant.train(initial(), Clock(0, 1))
    assert first.optimizer is None
    once = trees.clone(first.params)
    assert same(participant.train(initial(), Clock(0, 1)).params, once)


def test_one_step_of_many_participants_is_large_batch_sgd() -> None:
    """Weighted by what the losses are means over, one step each is one step on all rows together."""
    settings = replace(SGD, batch_size=100, weighting="tokens")
    shared = workspace_for(settings)
    parts = {name: examples(7, seed=i) for i, name in enumerate("abc")}
    tasks = {name: site(settings, rows, workspace=shared, name=name) for name, rows in parts.items()}
    state, _ = play_round(federation(fedavg(), tasks, rounds=1), ServerState(0, initial()))
    together = site(settings, [row for rows in parts.values() for row in rows])
    for name, tensor in train_plainly(small_model(), together, rounds=1).items():
        torch.testing.assert_close(state.params[name], tensor, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("accumulation", [2, 3, 5])
def test_accumulated_batches_are_one_large_batch(accumulation: int) -> None:
    # the number of batches divides evenly or not; the last logical batch is then smaller in both
    rows = examples(30)
    small = site(replace(SGD, batch_size=2, accumulation=accumulation, group_by_length=False, epochs=2), rows)
    large = site(replace(SGD, batch_size=2 * accumulation, group_by_length=False, epochs=2), rows)
    assert small.steps_of(0) == large.steps_of(0)
    expected = trees.clone(trained(large).params)
    for name, tensor in trained(small).params.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_accumulation_counts_units_and_not_batches() -> None:
    """A mean of batch means would weigh a short batch like a long one."""
    rows = [*examples(1, longest=1), *examples(1, seed=3, longest=40)]
    settings = replace(SGD, batch_size=1, accumulation=2)
    expected = train_plainly(small_model(), site(replace(settings, batch_size=2, accumulation=1), rows), rounds=1)
    for name, tensor in trained(site(settings, rows)).params.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-7)


def test_the_schedule_runs_on_the_clock_of_the_whole_run() -> None:
    participant = site(replace(SGD, batch_size=3, schedule="linear", learning_rate=1.0))
    steps = [size for number in range(5) for size in participant.train(initial(), Clock(number, 5)).step_sizes]
    assert steps == pytest.approx([1 - step / 20 for step in range(20)], rel=1e-12)


def test_the_gradient_is_that_of_the_mean_loss_over_all_rows() -> None:
    participant = site(replace(SGD, batch_size=3))
    model = small_model()
    loss = RowFitting().loss(model, RowFitting().collate(participant.splits["train"]))
    (loss.total / loss.units).backward()  # type: ignore[no-untyped-call] # PyTorch's own
    gradient = participant.gradient(initial())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-5, atol=1e-7)
