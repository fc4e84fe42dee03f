from __future__ import annotations

import pytest
import torch

from foedus.federation.messages import Broadcast, Clock
from foedus.strategies.fedavg import fedavg
from foedus.strategies.fednova import fednova, path_length
from strategies.quadratics import QuadraticTask, pair, place, played, point


@pytest.mark.parametrize(("step_size", "expected"), [(0.05, 0.810546), (0.001, 0.800239)])
def test_unequal_steps_have_the_known_fixed_points(step_size: float, expected: float) -> None:
    rested = played(fednova(), pair((8, 2), step_size), start=point(0.8), rounds=1200)
    assert place(rested) == pytest.approx(expected, abs=5e-7)


def test_equal_steps_are_fedavg() -> None:
    for rounds in (1, 5, 400):
        expected = place(played(fedavg(), pair(step_size=0.07), rounds=rounds))
        assert place(played(fednova(), pair(step_size=0.07), rounds=rounds)) == pytest.approx(expected, rel=1e-13)


def test_equal_steps_under_momentum_are_fedavg() -> None:
    def sites() -> dict[str, QuadraticTask]:
        return {
            "a": QuadraticTask(1.0, 0.0, [0.05] * 5, momentum=0.9),
            "b": QuadraticTask(4.0, 1.0, [0.05] * 5, momentum=0.9),
        }

    expected = place(played(fedavg(), sites(), rounds=10))
    assert place(played(fednova(momentum=0.9), sites(), rounds=10)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_path_length_is_the_papers_closed_form_times_the_step_size(momentum: float) -> None:
    steps, rho = 7, momentum
    paper = (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)
    assert path_length([0.3] * steps, momentum) == pytest.approx(0.3 * paper, rel=1e-14)


def test_the_path_length_is_how_far_a_constant_gradient_carries() -> None:
    sizes, momentum = [0.3, 0.1, 0.2, 0.4], 0.7
    x = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = torch.optim.SGD([x], lr=1.0, momentum=momentum)
    for size in sizes:
        optimizer.param_groups[0]["lr"] = size
        x.grad = torch.ones_like(x)
        optimizer.step()
    assert path_length(sizes, momentum) == pytest.approx(-x.item(), rel=1e-14)


def test_a_participant_that_could_not_move_sends_no_direction() -> None:
    still = QuadraticTask(1.0, 1.0, [0.0, 0.0])
    update, _ = fednova().local(still, Broadcast({"params": point(0.5)}, Clock(0, 1)), {})
    assert not update.averaged["direction"]["x"].any()
    assert float(update.averaged["path"]["value"]) == 0.0
