from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from foedus.federation.protocols import Algorithm, ServerState
from foedus.strategies.fedopt import fedadagrad, fedadam, fedyogi
from strategies.quadratics import aggregate_of, pair, place, played, point


def walked(algorithm: Algorithm, *deltas: float) -> list[float]:
    """Return where the coordinator stands after each mean update, from 0."""
    state = ServerState(0, point(0.0), algorithm.init(point(0.0)))
    places = []
    for delta in deltas:
        params, memory = algorithm.step(state, aggregate_of(delta))
        state = ServerState(state.round + 1, params, memory)
        places.append(place(state))
    return places


def by_hand(second_moment: Callable[[float, float], float], eta: float, tau: float, *deltas: float) -> list[float]:
    """Return the same walk by Algorithm 2 of Reddi et al. written out for one number, beta1 = 0.9."""
    w, m, v = 0.0, 0.0, tau**2
    places = []
    for delta in deltas:
        m = 0.9 * m + (1 - 0.9) * delta
        v = second_moment(v, delta**2)
        w -= eta * m / (math.sqrt(v) + tau)
        places.append(w)
    return places


def test_fedadams_first_step_of_a_unit_update_is_0_99005_of_the_learning_rate() -> None:
    assert walked(fedadam(server_learning_rate=0.01, tau=1e-3), 1.0)[0] == pytest.approx(-0.0099005, abs=5e-9)


def test_fedyogis_first_step_is_fedadams_but_for_the_decay_of_the_start_value() -> None:
    second_moment = 1e-6 + 0.01  # v - (1 - beta2) delta^2 sign(v - delta^2), v = tau^2
    expected = 0.01 * 0.1 / (math.sqrt(second_moment) + 1e-3)
    assert walked(fedyogi(server_learning_rate=0.01), 1.0)[0] == pytest.approx(-expected, rel=1e-14)


def test_fedadagrads_steps_shrink_as_one_over_the_root_of_rounds() -> None:
    places = walked(fedadagrad(server_learning_rate=1.0, beta1=0.0, tau=1e-9), *[2.0] * 4)
    assert places == pytest.approx([-1, -1 - 2**-0.5, -1 - 2**-0.5 - 3**-0.5, -1.5 - 2**-0.5 - 3**-0.5], rel=1e-8)


DELTAS = (1.0, -0.4, 0.02, 0.02, -3.0, 0.5)


@pytest.mark.parametrize(
    ("algorithm", "second_moment"),
    [
        (fedadam(0.3, tau=0.05), lambda v, square: 0.99 * v + (1 - 0.99) * square),
        (fedyogi(0.3, tau=0.05), lambda v, square: v - (1 - 0.99) * square * math.copysign(1, v - square)),
        (fedadagrad(0.3, tau=0.05), lambda v, square: v + square),
    ],
    ids=["fedadam", "fedyogi", "fedadagrad"],
)
def test_a_walk_equals_the_papers_algorithm_written_out(
    algorithm: Algorithm, second_moment: Callable[[float, float], float]
) -> None:
    assert walked(algorithm, *DELTAS) == pytest.approx(by_hand(second_moment, 0.3, 0.05, *DELTAS), rel=1e-13)


@pytest.mark.parametrize("make", [fedadam, fedyogi, fedadagrad])
def test_no_update_means_no_step(make: Callable[[], Algorithm]) -> None:
    assert walked(make(), 0.0, 0.0) == [0.0, 0.0]


@pytest.mark.parametrize("make", [fedadam, fedyogi, fedadagrad])
def test_comes_to_rest_where_fedavg_does(make: Callable[..., Algorithm]) -> None:
    # a tau that dwarfs every update makes the step plain: eta / tau = 1
    rested = played(make(server_learning_rate=100.0, beta1=0.0, tau=100.0), pair(), rounds=800)
    assert place(rested) == pytest.approx(0.748237, abs=5e-7)
