from __future__ import annotations

import pytest
import torch

from foedus.federation.protocols import ServerState
from foedus.strategies.fedavg import fedavg
from foedus.strategies.fedavgm import fedavgm
from strategies.quadratics import aggregate_of, pair, place, played, point


def test_steps_under_a_constant_mean_update_accumulate() -> None:
    algorithm = fedavgm(momentum=0.9, server_learning_rate=0.5)
    state = ServerState(0, point(0.0), algorithm.init(point(0.0)))
    places = []
    for _ in range(3):
        params, memory = algorithm.step(state, aggregate_of(1.0))
        state = ServerState(state.round + 1, params, memory)
        places.append(place(state))
    # m = 1, 1.9, 2.71; w = -m / 2 summed. An exponential average would give steps ten times smaller.
    assert places == pytest.approx([-0.5, -1.45, -2.805], rel=1e-14)


def test_momentum_0_is_fedavg_bit_for_bit() -> None:
    expected = played(fedavg(), pair((3, 7)), rounds=20)
    actual = played(fedavgm(momentum=0.0), pair((3, 7)), rounds=20)
    assert torch.equal(actual.params["x"], expected.params["x"])


def test_momentum_leaves_the_fixed_point_of_fedavg() -> None:
    assert place(played(fedavgm(momentum=0.5), pair())) == pytest.approx(0.748237, abs=5e-7)


def test_is_torch_sgd_with_momentum_on_the_mean_update() -> None:
    deltas = [0.3, -1.2, 0.7, 0.1]
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.3, momentum=0.8)
    algorithm = fedavgm(momentum=0.8, server_learning_rate=0.3)
    state = ServerState(0, point(0.0), algorithm.init(point(0.0)))
    for delta in deltas:
        weight.grad = torch.tensor([delta], dtype=torch.float64)
        optimizer.step()
        params, memory = algorithm.step(state, aggregate_of(delta))
        state = ServerState(state.round + 1, params, memory)
    assert place(state) == pytest.approx(weight.item(), rel=1e-14)
