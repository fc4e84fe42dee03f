from __future__ import annotations

import pytest
import torch

from foedus.federation.protocols import Aggregate, ServerState
from foedus.strategies.fedavg import fedavg
from foedus.strategies.fedexp import fedexp
from strategies.quadratics import QuadraticTask, pair, place, played, point


def stepped(mean: float, mean_square: float, epsilon: float) -> float:
    averaged = {"delta": point(mean), "squared_norm": {"value": torch.tensor(mean_square, dtype=torch.float64)}}
    aggregate = Aggregate(averaged, {}, weight=2.0, metrics={}, reports=2, population=2)
    params, _ = fedexp(epsilon).step(ServerState(0, point(0.0)), aggregate)
    return float(params["x"])


def test_the_step_grows_by_half_the_ratio_of_mean_square_to_squared_mean() -> None:
    # updates 3 and -1: mean 1, mean square 5, step 5 / (2 (1 + 0.25)) = 2
    assert stepped(1.0, 5.0, epsilon=0.25) == pytest.approx(-2.0, rel=1e-15)


def test_the_step_is_never_smaller_than_fedavgs() -> None:
    assert stepped(1.0, 1.2, epsilon=1e-3) == -1.0


def test_identical_updates_are_fedavg() -> None:
    twins = {name: QuadraticTask(2.0, 1.0, [0.1] * 3) for name in ("a", "b", "c")}
    expected = played(fedavg(), twins, rounds=10)
    assert place(played(fedexp(), twins, rounds=10)) == pytest.approx(place(expected), rel=1e-14)


def test_disagreeing_participants_make_a_round_go_further_than_fedavg() -> None:
    tasks = {"left": QuadraticTask(1.0, -1.0, [0.3]), "right": QuadraticTask(1.0, 2.0, [0.3])}
    # updates 0.3 and -0.6: mean -0.15, mean square 0.225, extrapolation 0.225 / (2 (0.0225 + 0.001))
    expected = 0.15 * 0.225 / (2 * (0.0225 + 1e-3))
    assert place(played(fedexp(1e-3), tasks, rounds=1)) == pytest.approx(expected, rel=1e-12)


def test_the_ratio_is_weighted_like_the_mean() -> None:
    tasks = {
        "left": QuadraticTask(1.0, -1.0, [1.0], weight=3.0),
        "right": QuadraticTask(1.0, 2.0, [1.0], weight=1.0),
    }
    mean, mean_square = (3 * 1 - 2) / 4, (3 * 1 + 4) / 4
    expected = -mean * mean_square / (2 * (mean**2 + 1e-3))
    assert place(played(fedexp(1e-3), tasks, rounds=1)) == pytest.approx(expected, rel=1e-12)


def test_stays_near_the_fixed_point_of_fedavg() -> None:
    assert place(played(fedexp(1.0), pair())) == pytest.approx(0.748237, abs=5e-7)
