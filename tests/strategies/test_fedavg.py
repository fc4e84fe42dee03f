from __future__ import annotations

import pytest
import torch

from foedus.federation.protocols import ServerState
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import QuadraticTask, aggregate_of, pair, place, played, point


@pytest.mark.parametrize(("steps", "expected"), [((5, 5), 0.748237), ((2, 8), 0.895131), ((8, 2), 0.516811)])
def test_local_steps_draw_the_fixed_point_to_where_drift_theory_says(steps: tuple[int, int], expected: float) -> None:
    assert place(played(fedavg(), pair(steps))) == pytest.approx(expected, abs=5e-7)


def test_fixed_point_has_the_closed_form_of_contracting_local_maps() -> None:
    keep = [(1 - 0.05 * 1) ** 3, (1 - 0.05 * 4) ** 7]  # what K steps leave of the distance to the own centre
    expected = (1 - keep[1]) / (2 - keep[0] - keep[1])
    assert place(played(fedavg(), pair((3, 7)))) == pytest.approx(expected, rel=1e-13)


def test_one_step_each_is_gradient_descent_on_the_mean_loss() -> None:
    assert place(played(fedavg(), pair((1, 1)), rounds=1)) == pytest.approx(0.05 * (0 + 4) / 2, rel=1e-15)
    assert place(played(fedavg(), pair((1, 1)))) == pytest.approx(0.8, rel=1e-13)


def test_participants_count_by_their_weight() -> None:
    tasks = {"light": QuadraticTask(1.0, 0.0, [1.0], weight=1.0), "heavy": QuadraticTask(1.0, 1.0, [1.0], weight=3.0)}
    assert place(played(fedavg(), tasks, rounds=1)) == pytest.approx(0.75, rel=1e-15)


def test_scaling_all_weights_changes_nothing() -> None:
    def sites(factor: float) -> dict[str, QuadraticTask]:
        return {
            "a": QuadraticTask(1.0, 0.0, [0.1] * 3, weight=2 * factor),
            "b": QuadraticTask(4.0, 1.0, [0.1], weight=5 * factor),
        }

    assert place(played(fedavg(), sites(1), rounds=5)) == pytest.approx(
        place(played(fedavg(), sites(1e6), rounds=5)), rel=1e-14
    )


def test_server_learning_rate_scales_the_mean_step() -> None:
    state = ServerState(0, point(1.0))
    params, _ = fedavg(server_learning_rate=0.25).step(state, aggregate_of(2.0, 4.0))
    assert torch.equal(params["x"], torch.tensor([1.0 - 0.25 * 3.0], dtype=torch.float64))


def test_a_single_participant_leaves_its_own_model() -> None:
    alone = QuadraticTask(2.0, 3.0, [0.1] * 4)
    expected = 3.0 * (1 - 0.8**4)
    assert place(played(fedavg(), {"alone": alone}, rounds=1)) == pytest.approx(expected, rel=1e-15)
