"""A run is held to its budgets, whoever pays, and whatever is redone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from foedus.core.errors import BudgetError, LedgerError
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Train
from foedus.privacy.accounting import epsilon
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.events import Gaussian
from foedus.privacy.factors import BandedSquareRoot
from foedus.privacy.ledger.guard import LedgerGuard, Payer, run_identity
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import federation_ledger, participant_ledger
from foedus.privacy.outbox import Outbox
from foedus.privacy.plan import CohortPlan, Plan, StreamPlan
from foedus.privacy.signing.digests import request_digest
from privacy.ledger.small_plans import plan, rows
from strategies.quadratics import point

DELTA = 1e-5
NAMES = ("a", "b", "c")


def request(number: int, value: float = 0.0) -> Train:
    return Train(Broadcast({"params": point(value)}, Clock(number - 1, 10)))


def requests(number: int, cohort: Sequence[str] = NAMES) -> Mapping[str, Train]:
    return dict.fromkeys(cohort, request(number))


def opened(path: Path, budget_id: str, plan: Plan) -> Payer:
    ledger = Ledger(path)
    ledger.register(budget_id, rows(range(100)))
    return Payer(ledger, budget_id, plan)


def sites(folder: Path, names: Sequence[str] = NAMES) -> Mapping[str, Payer]:
    return {name: opened(participant_ledger(folder, name), name, plan()) for name in names}


def uses(payer: Payer) -> int:
    """Return how often a payer's budget was charged, whatever for."""
    [account] = payer.ledger.accounts()
    return sum(spending.uses for spending in account.spendings)


def play(guard: LedgerGuard, number: int, cohort: Sequence[str] = NAMES) -> None:
    guard.reserve(number, requests(number, cohort))
    guard.settle(number, cohort, cohort)


def test_at_record_level_those_in_the_cohort_pay(tmp_path: Path) -> None:
    payers = sites(tmp_path)
    guard = LedgerGuard("run", 10, payers)
    play(guard, 1, ("a", "b"))
    play(guard, 2, ("b",))
    assert [uses(payers[name]) for name in NAMES] == [1, 2, 0]
    record = guard.record(2)
    assert record["epsilon"] == record["epsilon_in_ledger"] == pytest.approx(epsilon([(Gaussian(10.0), 2)], DELTA))
    assert (record["unit"], record["delta"], record["payers"], record["budgets"]) == ("record", DELTA, 2, 0)


def test_at_participant_level_everybody_pays_in_every_round_sampled_or_not(tmp_path: Path) -> None:
    cohorts = CohortPlan(10.0, FixedClip(1.0), DELTA, population=100, rate=1.0)
    federation = opened(federation_ledger(tmp_path), "all", cohorts)
    payers = {name: opened(participant_ledger(tmp_path, name), name, cohorts) for name in NAMES}
    guard = LedgerGuard("run", 10, payers, federation)
    play(guard, 1, ())
    play(guard, 2, ("b",))
    assert [uses(payer) for payer in (federation, *payers.values())] == [2] * 4
    assert guard.record(2)["unit"] == "participant"


def test_a_round_that_one_budget_refuses_is_charged_to_nobody(tmp_path: Path) -> None:
    payers = sites(tmp_path)
    payers["b"].ledger.set_limit("b", "record", epsilon([(Gaussian(10.0), 1)], DELTA) + 1e-9, DELTA)
    guard = LedgerGuard("run", 10, payers)
    assert guard.forecast()["b"].fitting == 1
    play(guard, 1)
    with pytest.raises(BudgetError, match="of b"):
        guard.reserve(2, requests(2))
    assert [uses(payers[name]) for name in NAMES] == [1, 1, 1]
    assert guard.record(1)["budgets"] == 1


def test_a_round_that_is_redone_after_a_crash_is_charged_again(tmp_path: Path) -> None:
    payers = sites(tmp_path)
    first = LedgerGuard("run", 10, payers)
    play(first, 1)
    first.reserve(2, requests(2))  # and here the process ends
    second = LedgerGuard("run", 10, payers)
    play(second, 2)
    assert [uses(payers[name]) for name in NAMES] == [3, 3, 3]
    record = second.record(2)
    assert record["redone"] == 1
    assert record["epsilon"] == pytest.approx(epsilon([(Gaussian(10.0), 3)], DELTA))


def test_who_had_finished_its_reply_to_the_same_request_is_not_charged_again(tmp_path: Path) -> None:
    payers, outbox = sites(tmp_path), Outbox(tmp_path / "outbox")
    first = LedgerGuard("run", 10, payers, outbox=outbox)
    first.reserve(1, requests(1))
    update = LocalUpdate({"delta": {"x": torch.ones(1)}}, 1.0)
    outbox.put("a", 1, request_digest(request(1)).hex(), update, {})
    outbox.put(
        "b", 1, request_digest(request(1, value=0.5)).hex(), update, {}
    )  # of another request: no reply to this one
    second = LedgerGuard("run", 10, payers, outbox=outbox)
    play(second, 1)
    assert [uses(payers[name]) for name in NAMES] == [1, 2, 2]
    assert (second.record(1)["sent_again"], second.record(1)["payers"]) == (1, 3)
    unsettled = [payers[name].ledger.accounts()[0].spendings[0].unsettled for name in NAMES]
    assert unsettled == [0, 1, 1]  # what b and c had reserved before the crash was never answered
    play(second, 2)
    assert not outbox.has_round(1)
    second.finish()
    assert not outbox.folder.exists()


def test_who_would_be_sent_another_request_than_its_reply_is_for_pays_again(tmp_path: Path) -> None:
    payers, outbox = sites(tmp_path), Outbox(tmp_path / "outbox")
    LedgerGuard("run", 10, payers, outbox=outbox).reserve(1, requests(1))
    update = LocalUpdate({"delta": {"x": torch.ones(1)}}, 1.0)
    for name in NAMES:
        outbox.put(name, 1, request_digest(request(1)).hex(), update, {})
    LedgerGuard("run", 10, payers, outbox=outbox).reserve(1, {**requests(1), "b": request(1, value=0.5)})
    assert [uses(payers[name]) for name in NAMES] == [1, 2, 1]


def test_a_stream_is_paid_for_in_its_first_round_and_again_for_a_redone_one(tmp_path: Path) -> None:
    stream = StreamPlan(10.0, FixedClip(1.0), DELTA, 100, 5, 10, 2, 1, BandedSquareRoot(2))
    federation = opened(federation_ledger(tmp_path), "all", stream)
    guard = LedgerGuard("run", 10, {}, federation)
    for number in (1, 2, 3):
        play(guard, number)
        assert uses(federation) == 1
    assert guard.record(3)["epsilon"] == pytest.approx(epsilon([(stream.event(10), 1)], DELTA))
    guard.reserve(4, requests(4))
    again = LedgerGuard("run", 10, {}, federation)
    play(again, 4)
    assert uses(federation) == 2
    assert again.record(4)["redone"] == 1
    play(LedgerGuard("run", 10, {}, federation, Outbox(tmp_path / "outbox")), 4)  # the same updates, the same noise
    assert uses(federation) == 2


def test_who_was_never_asked_gets_its_charge_back(tmp_path: Path) -> None:
    payers = sites(tmp_path)
    guard = LedgerGuard("run", 10, payers)
    guard.reserve(1, requests(1))
    guard.settle(1, asked=("a", "b"), answered=("a",))
    assert [uses(payers[name]) for name in NAMES] == [1, 1, 0]


def test_a_run_that_goes_on_without_its_ledgers_is_refused(tmp_path: Path) -> None:
    play(LedgerGuard("run", 10, sites(tmp_path / "one")), 1)
    guard = LedgerGuard("run", 10, sites(tmp_path / "two"))
    with pytest.raises(LedgerError, match="put the ledgers back"):
        guard.reserve(2, requests(2))


def test_a_participant_without_a_ledger_cannot_be_asked(tmp_path: Path) -> None:
    guard = LedgerGuard("run", 10, sites(tmp_path, ("a",)))
    with pytest.raises(LedgerError, match="b has no ledger"):
        guard.reserve(1, requests(1, ("a", "b")))


def test_a_run_s_identity_is_random_and_stays(tmp_path: Path) -> None:
    first = run_identity(tmp_path / "one")
    assert run_identity(tmp_path / "one") == first
    assert run_identity(tmp_path / "two") != first
    assert len(first) == 32
