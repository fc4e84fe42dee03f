"""Collectors driven by hand, without an engine: they do no input or output."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from foedus.core.errors import ParticipantError
from foedus.federation.collect import (
    Collected,
    Collector,
    Received,
    RunningSum,
    T,
    check_update,
    collect_evaluations,
    collect_updates,
)
from foedus.federation.messages import (
    Broadcast,
    Clock,
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    Reply,
    Sums,
    Train,
)

LIKE = {"delta": {"x": torch.zeros(2)}}
REQUEST = Train(Broadcast({"params": {"x": torch.zeros(2)}}, Clock(0, 1)))


def update(*values: float, weight: float = 1.0, loss: float = 0.0) -> LocalUpdate:
    return LocalUpdate({"delta": {"x": torch.tensor(values)}}, weight, metrics={"loss": loss})


def sums(**values: float) -> Evaluation:
    return Evaluation({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})


def finished(collector: Collector[T], replies: Iterable[tuple[str, Reply]]) -> T:
    """Send the replies and the end of the phase; return what was collected."""
    next(collector)
    for received in replies:
        assert collector.send(received) is None
    return ended(collector)


def ended(collector: Collector[T]) -> T:
    over: Received = None
    try:
        collector.send(over)
    except StopIteration as stop:
        result: T = stop.value
        return result
    pytest.fail("the collector asked for another phase")


def collected(*replies: tuple[str, Reply], cohort: tuple[str, ...] = ("a", "b", "c")) -> Collected:
    return finished(collect_updates(dict.fromkeys(cohort, REQUEST), RunningSum(LIKE, {})), replies)


def test_the_first_thing_it_yields_is_the_whole_cohorts_requests() -> None:
    collector = collect_updates({"a": REQUEST, "b": REQUEST}, RunningSum(LIKE, {}))
    assert next(collector) == {"a": REQUEST, "b": REQUEST}


def test_updates_are_averaged_by_weight_and_sorted_by_sender() -> None:
    result = collected(
        ("a", update(1.0, 0.0, loss=4.0)), ("c", update(3.0, 8.0, weight=3.0, loss=8.0)), ("b", Failure("no power"))
    )
    mean = result.total.aggregate(population=3)
    assert mean.averaged["delta"]["x"].tolist() == [2.5, 6.0]
    assert (mean.weight, mean.reports, mean.population, mean.metrics) == (4.0, 2, 3, {"loss": 7.0})
    assert result.left_out == {"b": "no power"}
    assert result.metrics == {"a": {"loss": 4.0}, "c": {"loss": 8.0}}


def test_a_second_reply_of_the_same_participant_is_not_counted() -> None:
    result = collected(("a", update(1.0, 1.0)), ("a", update(100.0, 100.0)), cohort=("a",))
    assert result.total.averaged["delta"]["x"].tolist() == [1.0, 1.0]
    assert result.left_out == {}


def test_a_participant_cannot_mend_a_reply_that_was_refused() -> None:
    result = collected(("a", update(math.nan, 0.0)), ("a", update(1.0, 1.0)), cohort=("a",))
    assert result.total.reports == 0
    assert result.left_out == {"a": "its update holds NaN or infinite values in delta"}


def test_a_stranger_is_neither_counted_nor_recorded() -> None:
    result = collected(("a", update(1.0, 1.0)), ("mallory", update(100.0, 100.0)), cohort=("a",))
    assert result.total.averaged["delta"]["x"].tolist() == [1.0, 1.0]
    assert "mallory" not in {*result.left_out, *result.metrics}
    assert result.bytes_up == 8 + 8 + 8


def test_who_says_nothing_is_left_out_as_such() -> None:
    assert collected(("b", update(1.0, 1.0))).left_out == {"a": "did not answer", "c": "did not answer"}


def test_an_empty_cohort_collects_nothing() -> None:
    result = collected(cohort=())
    assert (result.total.reports, result.left_out, result.bytes_down, result.bytes_up) == (0, {}, 0, 0)


@pytest.mark.parametrize("reply", [sums(loss=1.0), None], ids=["an evaluation", "nothing"])
def test_a_reply_of_another_kind_is_refused(reply: Reply) -> None:
    left_out = collected(("a", reply), cohort=("a",)).left_out
    assert left_out == {"a": f"it answered a training request with {type(reply).__name__}"}


def test_bytes_are_counted_for_everybody_asked_and_every_update_received() -> None:
    result = collected(("a", update(1.0, 1.0)), ("b", Failure("no power")))
    assert (result.bytes_down, result.bytes_up) == (3 * 8, 8 + 8 + 8)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (update(1.0, 1.0, weight=0.0), "its weight is 0.0; a weight is a positive number"),
        (update(1.0, 1.0, weight=-1.0), "its weight is -1.0"),
        (update(1.0, 1.0, weight=math.nan), "its weight is nan"),
        (update(1.0, 1.0, weight=math.inf), "its weight is inf"),
        (update(1.0, 1.0, loss=math.inf), "its metric loss is inf"),
        (update(1.0), r"delta: x has shape \(1,\), expected \(2,\)"),
        (update(1.0, math.inf), "NaN or infinite values in delta"),
        (LocalUpdate({}, 1.0), r"its update holds the parts \[\]; declared are \['delta'\]"),
        (LocalUpdate({"delta": {}}, 1.0), "delta: x is missing"),
        (LocalUpdate(LIKE, 1.0, summed=LIKE), r"its update holds the parts \['delta'\]; declared are \[\]"),
    ],
)
def test_an_update_that_cannot_be_added_is_refused_with_nothing_added(broken: LocalUpdate, reason: str) -> None:
    total = RunningSum(LIKE, {})
    total.add(update(1.0, 2.0, weight=2.0, loss=3.0))
    with pytest.raises(ParticipantError, match=reason):
        total.add(broken)
    mean = total.aggregate(1)
    assert mean.averaged["delta"]["x"].tolist() == [1.0, 2.0]
    assert (mean.weight, mean.reports, mean.metrics) == (2.0, 1, {"loss": 3.0})


def test_an_update_as_declared_passes_the_check() -> None:
    check_update(update(1.0, 1.0), LIKE, {})


@pytest.mark.parametrize("participants", [2, 500])
def test_a_running_sum_holds_as_much_after_many_updates_as_after_one(participants: int) -> None:
    total = RunningSum(LIKE, LIKE)
    seen = []
    for number in range(participants):
        given = LocalUpdate({"delta": {"x": torch.full((2,), float(number))}}, 1.0, {"delta": {"x": torch.ones(2)}})
        seen.append(weakref.ref(given.averaged["delta"]["x"]))
        total.add(given)
        del given
    held = [tensor for trees in (total.averaged, total.summed) for tree in trees.values() for tensor in tree.values()]
    assert sum(reference() is not None for reference in seen) == 0
    assert [(tensor.shape, tensor.dtype) for tensor in held] == [((2,), torch.float32)] * 2


def test_what_a_running_sum_was_given_is_not_what_it_adds_to() -> None:
    first = update(1.0, 1.0)
    total = RunningSum(LIKE, {})
    total.add(first)
    total.add(update(5.0, 5.0))
    assert first.averaged["delta"]["x"].tolist() == [1.0, 1.0]


def test_half_precision_updates_are_summed_in_float32() -> None:
    total = RunningSum(LIKE, {})
    for _ in range(1000):
        total.add(LocalUpdate({"delta": {"x": torch.tensor([0.1, 256.0], dtype=torch.bfloat16)}}, 1.0))
    expected = torch.tensor([0.1, 256.0], dtype=torch.bfloat16).float()
    torch.testing.assert_close(total.aggregate(1).averaged["delta"]["x"], expected, rtol=1e-4, atol=0)


def evaluated(*replies: tuple[str, Reply]) -> tuple[dict[str, float], list[str], dict[str, str]]:
    """Return the summed statistics, who has its own, and who was left out."""
    request = Evaluate({"x": torch.zeros(1)}, "test")
    result = finished(collect_evaluations(("a", "b", "c"), request), replies)
    return {name: float(value) for name, value in result.union.items()}, list(result.sites), dict(result.left_out)


def test_statistics_add_up_over_sites() -> None:
    replies = [("a", sums(loss=1.0, units=2.0)), ("b", sums(loss=4.0, units=3.0)), ("c", sums(loss=0.5, units=1.0))]
    assert evaluated(*replies) == ({"loss": 5.5, "units": 6.0}, ["a", "b", "c"], {})


def test_a_site_without_rows_adds_nothing_and_is_not_left_out() -> None:
    replies = [("a", Evaluation({})), ("b", sums(loss=4.0)), ("c", Evaluation({}))]
    assert evaluated(*replies) == ({"loss": 4.0}, ["b"], {})


def test_statistics_that_cannot_be_added_are_left_out() -> None:
    replies: list[tuple[str, Reply]] = [
        ("a", sums(loss=1.0)),
        ("b", sums(accuracy=1.0)),
        ("c", sums(loss=math.nan)),
    ]
    union, sites, left_out = evaluated(*replies)
    assert (union, sites) == ({"loss": 1.0}, ["a"])
    assert left_out == {
        "b": "its statistics have another shape: loss is missing",
        "c": "its statistics hold NaN or infinite values",
    }


def test_sites_that_fail_or_answer_otherwise_are_left_out_of_an_evaluation() -> None:
    assert evaluated(("a", Failure("no power")), ("b", update(1.0, 1.0))) == (
        {},
        [],
        {"a": "no power", "b": "it answered an evaluation request with LocalUpdate", "c": "did not answer"},
    )


def test_collecting_statistics_changes_none_of_them() -> None:
    first: Sums = {"loss": torch.tensor(1.0, dtype=torch.float64)}
    finished(collect_evaluations(("a", "b"), Evaluate({}, "test")), [("a", Evaluation(first)), ("b", sums(loss=2.0))])
    assert float(first["loss"]) == 1.0


def test_counts_add_up_without_weights() -> None:
    total = RunningSum(LIKE, {})
    for weight, steps in ((1.0, 3), (5.0, 40)):
        total.add(LocalUpdate(LIKE, weight, counts={"steps": steps, "tokens": 10 * steps}))
    assert total.counts == {"steps": 43, "tokens": 430}


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"rows": 4}, "it counted rows; what may be counted is steps and tokens"),
        ({"steps": -1}, "its count of steps is -1; a count is a whole number, 0 or more"),
        ({"tokens": 2.5}, r"its count of tokens is 2\.5"),
        ({"tokens": math.nan}, "its count of tokens is nan"),
    ],
)
def test_a_count_that_is_none_leaves_the_update_out(counts: dict[str, Any], reason: str) -> None:
    total = RunningSum(LIKE, {})
    with pytest.raises(ParticipantError, match=reason):
        total.add(LocalUpdate(LIKE, 1.0, counts=counts))
    assert (total.reports, total.counts) == (0, {})
