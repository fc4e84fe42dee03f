"""What the coordinator makes of what it is told: nothing that lowers a figure, and no word of who cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from foedus.config.loading import load_config
from foedus.config.own_privacy import BILL, EPSILON, RECORDS
from foedus.config.sections import RunConfig
from foedus.config.told_privacy import ToldGuard, read_records, read_spending, told_guarantee, told_guard
from foedus.privacy.bills import Bill
from foedus.privacy.events import Event, Gaussian, PoissonGaussian

SEALED = {"payer": "north", "sealed": "ab" * 32}


def _run(**privacy: Any) -> RunConfig:
    return load_config(
        {
            "task": {"kind": "text_classification", "text": "t", "label": "l", "labels": ["no", "yes"]},
            "model": {"path": "m"},
            "participants": {"train": "*.csv"},
            "secure_sum": "masks",
            "local": {"batch_size": 8, "steps": 3},
            "rounds": {"count": 2},
            "privacy": {"kind": "records", **privacy},
        }
    )


def _guard(**privacy: Any) -> ToldGuard:
    guard = told_guard(_run(**privacy), None, {"north": 100, "south": 400})
    assert guard is not None
    return guard


def test_of_private_sizes_nothing_follows_from_them() -> None:
    guard = _guard(epsilon=4.0)
    assert (guard.table, guard.delta, guard.plans) == ([0.0, 4.0, 4.0], 0.01, None)
    said = told_guarantee(guard, read_spending(guard, {}, {"north"}, 2), 2)
    assert said["facts"]["noise multiplier"] == "each participant's own, by its number of records"
    assert any(limit.startswith("north did not tell") for limit in said["limits"])


def test_of_public_sizes_epsilon_follows_round_by_round() -> None:
    guard = _guard(noise_multiplier=1.0, sizes="public")
    assert 0 == guard.table[0] < guard.table[1] < guard.table[2]
    assert guard.delta == 0.001  # of the smaller one


def test_who_tells_more_than_was_planned_is_believed() -> None:
    guard = _guard(epsilon=4.0)
    spending = read_spending(guard, {"north": {BILL: SEALED, EPSILON: 5.5}}, {"north"}, 2)
    assert (spending.epsilon, spending.silent, list(spending.bills)) == (5.5, [], [SEALED])


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {EPSILON: 1.0},
        {BILL: SEALED},
        {BILL: SEALED, EPSILON: float("nan")},
        {BILL: SEALED, EPSILON: -1.0},
        {BILL: SEALED, EPSILON: True},
        {BILL: SEALED, EPSILON: "1"},
        {BILL: {**SEALED, "payer": "south"}, EPSILON: 1.0},
        {BILL: {"payer": "north", "delta": 0.1, "events": [{"event": {"kind": "?"}, "count": 1}]}, EPSILON: 1.0},
        {BILL: [1], EPSILON: 1.0},
    ],
    ids=str,
)
def test_what_cannot_be_read_lowers_nothing_and_counts_as_not_told(facts: dict[str, Any]) -> None:
    guard = _guard(epsilon=4.0)
    spending = read_spending(guard, {"north": facts}, {"north"}, 2)
    assert (spending.epsilon, list(spending.silent), list(spending.bills)) == (4.0, ["north"], [])


def _billed(event: Event, count: int, delta: float = 0.001) -> dict[str, Any]:
    return {BILL: {"payer": "north", **Bill(((event, count),), delta).as_values()}, EPSILON: 1.0}


def test_a_bill_of_the_run_is_composed_though_rounds_were_paid_again() -> None:
    guard = _guard(noise_multiplier=1.0, sizes="public")
    spending = read_spending(guard, {"north": _billed(PoissonGaussian(1.0, 8 / 100), 18)}, {"north"}, 2)
    assert spending.silent == []
    assert spending.epsilon > guard.table[2]


@pytest.mark.parametrize(
    ("event", "count", "delta"),
    [
        (PoissonGaussian(1.0, 8 / 100), 10**9, 0.001),
        (PoissonGaussian(1e3, 1e-6), 10**9, 0.001),
        (PoissonGaussian(0.1, 0.5), 6, 0.001),
        (Gaussian(1e-200), 6, 0.001),
        (PoissonGaussian(1.0, 8 / 100), 6, 1e-300),
    ],
    ids=["far too often", "of hours to compose", "of other noise", "of no noise", "of another delta"],
)
def test_a_bill_of_something_else_is_not_composed_and_keeps_no_run_from_its_end(
    event: Event, count: int, delta: float
) -> None:
    guard = _guard(noise_multiplier=1.0, sizes="public")
    told = {"north": {**_billed(event, count, delta), EPSILON: 99.0}}
    spending = read_spending(guard, told, {"north"}, 2)
    assert (spending.epsilon, list(spending.silent), list(spending.bills)) == (99.0, ["north"], [])


def test_an_open_bill_is_none_where_sizes_are_secret() -> None:
    spending = read_spending(_guard(epsilon=4.0), {"north": _billed(Gaussian(0.1), 10**9)}, {"north"}, 2)
    assert (spending.epsilon, list(spending.silent), list(spending.bills)) == (4.0, ["north"], [])


def test_who_was_not_charged_owes_no_bill() -> None:
    assert read_spending(_guard(epsilon=4.0), {"north": {EPSILON: 0.0}}, {"north"}, 2).silent == []


def test_only_counts_are_taken_for_counts() -> None:
    told: dict[str, dict[str, Any]] = {
        "a": {RECORDS: 5},
        "b": {RECORDS: -1},
        "c": {RECORDS: True},
        "d": {RECORDS: 2.0},
        "e": {},
    }
    assert read_records(told) == {"a": 5}
