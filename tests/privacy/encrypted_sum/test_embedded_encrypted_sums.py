"""Whole rounds over the embedded engine: encrypted they end where plain rounds end, to the grid's error."""

from __future__ import annotations

import pytest
import torch

from contracts.strategy_cases import STRATEGIES
from foedus.federation.messages import SecureSumAnswer
from foedus.federation.protocols import Algorithm
from foedus.federation.round import Federation, play_round
from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.strategies.fedavg import fedavg
from privacy.secure_sum.test_embedded_sums import COUNT, PARTS, ROUNDS, TASKS, Vanishing, played, secure, start
from strategies.quadratics import federation

RANGE = 16.0
HALF_A_STEP = 2.0**-8  # 16 · 32 / largest, the next power of two, and half of it
WEIGHTS = sum(task.weight for task in TASKS.values())
OFF = COUNT * HALF_A_STEP / WEIGHTS  # of a mean in one round, at most


def encrypted(algorithm: Algorithm, vanish: dict[str, int] | None = None) -> Federation:
    return secure(algorithm, vanish, kind=Ckks(choose(COUNT)), value_range=RANGE)


def test_half_a_step_is_as_stated() -> None:
    assert HALF_A_STEP / 2 < RANGE * 32 / choose(COUNT).largest / 2 <= HALF_A_STEP


@pytest.mark.parametrize("name", PARTS)
def test_every_strategy_ends_where_it_ends_in_the_clear(name: str) -> None:
    plain, plain_reports = played(federation(STRATEGIES[name](), TASKS, rounds=ROUNDS))
    hidden, reports = played(encrypted(STRATEGIES[name]()))
    assert [report.reason for report in reports] == [None] * ROUNDS
    assert torch.allclose(plain.params["x"], hidden.params["x"], atol=10 * ROUNDS * OFF, rtol=0)
    one, other = plain_reports[0].collected.total, reports[0].collected.total
    assert other.weight == one.weight
    assert other.counts == one.counts
    assert other.metrics == pytest.approx(one.metrics, rel=1e-6)
    for part, tree in one.averaged.items():
        for key, value in tree.items():
            assert (other.averaged[part][key] - value).abs().max() <= OFF + 1e-6, (part, key)
    assert plain_reports[-1].evaluation is not None
    assert reports[-1].evaluation is not None
    for key, value in plain_reports[-1].evaluation.union.items():
        assert float(reports[-1].evaluation.union[key]) == pytest.approx(float(value), rel=1e-2, abs=1e-2)


def test_the_coordinator_gets_nothing_but_messages_of_the_sum() -> None:
    hidden = encrypted(fedavg())
    _, report = play_round(hidden, start(hidden.algorithm))
    assert isinstance(hidden.engine, Vanishing)
    assert all(isinstance(reply, SecureSumAnswer) for reply in hidden.engine.seen)
    assert report.collected.metrics == {}
    assert report.collected.clipped == 0


@pytest.mark.parametrize("phase", range(5))
def test_one_that_vanishes_in_any_phase_does_not_stop_the_round(phase: int) -> None:
    gone = next(iter(TASKS))
    hidden = encrypted(fedavg(), {gone: phase})
    _, report = play_round(hidden, start(hidden.algorithm))
    assert report.reason is None
    others = {name: task for name, task in TASKS.items() if name != gone} if phase <= 2 else TASKS
    plain = federation(fedavg(), others, rounds=ROUNDS)
    _, expected = play_round(plain, start(plain.algorithm))
    got, want = report.collected.total, expected.collected.total
    assert got.reports == len(others)
    assert got.weight == want.weight
    assert torch.allclose(got.averaged["delta"]["x"], want.averaged["delta"]["x"], atol=1e-3)
    assert set(report.collected.left_out) == ({gone} if phase <= 2 else set())


def test_a_round_is_answered_once_though_it_is_asked_for_twice() -> None:
    hidden = encrypted(fedavg())
    before = start(hidden.algorithm)
    assert play_round(hidden, before)[1].reason is None
    assert play_round(hidden, before)[1].reason is not None
