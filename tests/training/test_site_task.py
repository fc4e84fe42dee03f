from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Clock
from foedus.training.settings import LocalSettings, Weighting
from training.small_task import RowFitting, examples, site, small_model, workspace_for

SETTINGS = LocalSettings(learning_rate=0.1, optimizer="sgd", batch_size=4)
CLOCK = Clock(0, 3)


def initial() -> ParamTree:
    return trees.clone(dict(small_model().named_parameters()))


def same(left: ParamTree, right: ParamTree) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [("examples", 10.0), ("tokens", float(sum(len(row["targets"]) for row in examples(10)))), ("uniform", 1.0)],
)
@pytest.mark.parametrize("amount", [{"epochs": 3}, {"epochs": None, "steps": 2}])
def test_a_participant_counts_by_what_it_holds_however_much_it_trains(
    weighting: Weighting, expected: float, amount: dict[str, int | None]
) -> None:
    settings = replace(SETTINGS, weighting=weighting, **amount)  # type: ignore[arg-type] # epochs and steps
    assert site(settings).train(initial(), CLOCK).weight == expected


def test_the_reported_loss_is_the_mean_over_units_as_they_were_met() -> None:
    participant = site(replace(SETTINGS, learning_rate=0.0, batch_size=3))
    model, rows = small_model(), examples(10)
    loss = RowFitting().loss(model, RowFitting().collate(rows))
    reported = participant.train(initial(), CLOCK).metrics
    assert reported == {"loss": pytest.approx(loss.total.item() / loss.units, rel=1e-6)}


def test_training_reports_one_step_size_a_step() -> None:
    assert site(replace(SETTINGS, epochs=None, steps=7)).train(initial(), CLOCK).step_sizes == [0.1] * 7


def test_training_lowers_the_loss() -> None:
    participant = site(replace(SETTINGS, epochs=50))
    before, after = participant.train(initial(), CLOCK), None
    after = participant.train(trees.clone(before.params), CLOCK)
    assert after.metrics["loss"] < before.metrics["loss"]


def test_what_training_starts_from_is_not_changed() -> None:
    start = initial()
    site(SETTINGS).train(start, CLOCK)
    assert same(start, initial())


@pytest.mark.parametrize("rows", [[], None])
def test_without_training_rows_a_participant_says_so(rows: list[object] | None) -> None:
    participant = replace(site(SETTINGS), splits={} if rows is None else {"train": []})
    with pytest.raises(ParticipantError, match="it has no training rows"):
        participant.train(initial(), CLOCK)
    with pytest.raises(ParticipantError, match="it has no training rows"):
        participant.gradient(initial())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error_with_advice(value: float) -> None:
    rows = examples(5)
    rows[2] = {**rows[2], "targets": torch.full_like(rows[2]["targets"], value)}
    with pytest.raises(ParticipantError, match=r"its training loss is (nan|inf); a smaller local\.learning_rate may"):
        site(SETTINGS, rows).train(initial(), CLOCK)


def test_rows_that_hold_nothing_to_predict_are_an_error() -> None:
    with pytest.raises(ParticipantError, match="hold nothing to learn from"):
        site(SETTINGS, task=RowFitting(hidden=1.0)).train(initial(), CLOCK)


def test_a_batch_with_nothing_to_predict_is_no_step() -> None:
    hidden = RowFitting(hidden=0.5)
    participant = site(replace(SETTINGS, batch_size=1), examples(10, longest=1), task=hidden)
    steps = participant.train(initial(), CLOCK).step_sizes
    assert 0 < len(steps) < 10


def test_evaluation_adds_up_over_batches_and_over_sites() -> None:
    rows = examples(23, seed=5)
    settings = replace(SETTINGS, evaluation_batch_size=4)
    whole = site(replace(settings, evaluation_batch_size=100), test=rows).evaluate(initial(), "test")
    parts = [site(settings, test=part).evaluate(initial(), "test") for part in (rows[:1], rows[1:15], rows[15:])]
    for name, value in whole.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(sum(part[name] for part in parts), value, rtol=1e-6, atol=0)


def test_evaluation_counts_every_unit_and_hides_none() -> None:
    rows = examples(9)
    sums = site(SETTINGS, task=RowFitting(hidden=0.5), test=rows).evaluate(initial(), "test")
    assert float(sums["units"]) == sum(len(row["targets"]) for row in rows)


def test_a_split_without_rows_has_no_statistics() -> None:
    assert site(SETTINGS).evaluate(initial(), "test") == {}
    assert site(SETTINGS).evaluate(initial(), "validation") == {}


def test_evaluation_and_the_gradient_are_without_dropout() -> None:
    workspace = workspace_for(SETTINGS, small_model(dropout=0.5))
    noisy, plain = site(SETTINGS, workspace=workspace, test=examples(5)), site(SETTINGS, test=examples(5))
    noisy.train(initial(), CLOCK)
    assert same(noisy.evaluate(initial(), "test"), plain.evaluate(initial(), "test"))
    assert same(noisy.gradient(initial()), plain.gradient(initial()))


def test_bf16_computes_in_bfloat16_and_keeps_parameters_in_float32() -> None:
    seen: list[torch.dtype] = []
    settings = replace(SETTINGS, precision="bf16")
    model = small_model()
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    result = site(settings, workspace=workspace_for(settings, model)).train(initial(), CLOCK)
    expected = site(SETTINGS).train(initial(), CLOCK)
    assert set(seen) == {torch.bfloat16}
    assert {tensor.dtype for tensor in result.params.values()} == {torch.float32}
    assert not same(result.params, expected.params)
    for name, tensor in expected.params.items():
        torch.testing.assert_close(result.params[name], tensor, rtol=0.1, atol=0.02)


def test_the_optimizers_state_stays_only_if_it_is_kept() -> None:
    adamw = replace(SETTINGS, optimizer="adamw")
    assert site(adamw).train(initial(), CLOCK).optimizer is None
    kept = site(replace(adamw, keep_optimizer=True)).train(initial(), CLOCK).optimizer
    assert kept is not None
    assert {name.rpartition("/")[2] for name in kept} == {"step", "exp_avg", "exp_avg_sq"}


@pytest.mark.parametrize(("amount", "passes"), [({"epochs": 3}, 3), ({"epochs": None, "steps": 6}, 2)])
def test_steps_and_the_tokens_of_their_rows_are_counted_without_padding(
    amount: dict[str, int | None], passes: int
) -> None:
    result = site(replace(SETTINGS, **amount)).train(initial(), CLOCK)  # type: ignore[arg-type] # epochs and steps
    tokens = sum(len(row["targets"]) for row in examples(10))
    assert result.counts == {"steps": 3 * passes, "tokens": tokens * passes}
