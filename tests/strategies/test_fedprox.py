from __future__ import annotations

import pytest
import torch

from foedus.strategies.fedavg import fedavg
from foedus.strategies.fedprox import fedprox
from strategies.quadratics import pair, place, played


def test_mu_1_with_five_steps_has_the_known_fixed_point() -> None:
    assert place(played(fedprox(mu=1.0), pair())) == pytest.approx(0.748740, abs=5e-7)


@pytest.mark.parametrize("decoupled", [False, True])
def test_mu_0_is_fedavg_bit_for_bit(decoupled: bool) -> None:
    expected = played(fedavg(), pair((3, 7)), rounds=20)
    actual = played(fedprox(mu=0.0, decoupled=decoupled), pair((3, 7)), rounds=20)
    assert torch.equal(actual.params["x"], expected.params["x"])


@pytest.mark.parametrize("decoupled", [False, True])
def test_with_one_step_any_mu_is_fedavg_bit_for_bit(decoupled: bool) -> None:
    expected = played(fedavg(), pair((1, 1)), rounds=20)
    actual = played(fedprox(mu=7.0, decoupled=decoupled), pair((1, 1)), rounds=20)
    assert torch.equal(actual.params["x"], expected.params["x"])


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_large_mu_holds_participants_where_they_started(decoupled: bool) -> None:
    free, held = (played(fedprox(mu, decoupled=decoupled), pair(), rounds=1) for mu in (0.0, 10.0))
    assert 0 < place(held) < place(free)


def test_without_momentum_the_decoupled_pull_is_the_same_step() -> None:
    coupled, decoupled = (played(fedprox(1.0, decoupled=kind), pair()) for kind in (False, True))
    assert place(decoupled) == pytest.approx(place(coupled), rel=1e-13)


def test_the_fixed_point_nears_the_optimum_as_mu_grows() -> None:
    biases = [abs(place(played(fedprox(mu), pair(), rounds=1500)) - 0.8) for mu in (0.0, 1.0, 8.0)]
    assert biases == sorted(biases, reverse=True)
