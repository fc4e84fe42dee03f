from __future__ import annotations

import pytest
import torch

from foedus.federation.messages import Broadcast, Clock
from foedus.federation.sampling import FixedSize
from foedus.strategies.feddyn import feddyn
from strategies.quadratics import pair, place, played, point


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_exact_local_solutions_come_to_rest_at_the_optimum(alpha: float) -> None:
    assert place(played(feddyn(alpha), pair(exact=True), rounds=600)) == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_a_few_gradient_steps_come_to_rest_at_the_optimum(alpha: float) -> None:
    assert place(played(feddyn(alpha), pair(), rounds=3000)) == pytest.approx(0.8, abs=1e-6)


def test_finds_the_optimum_with_one_participant_a_round() -> None:
    rested = played(feddyn(1.0), pair(exact=True), rounds=3000, sampler=FixedSize(1))
    assert place(rested) == pytest.approx(0.8, abs=1e-6)


def test_a_participant_remembers_the_gradient_at_its_own_solution() -> None:
    task = pair(exact=True)["steep"]
    before = {"gradient": point(0.3)}
    update, memory = feddyn(0.5).local(task, Broadcast({"params": point(0.2)}, Clock(0, 1)), before)
    solution = {"x": point(0.2)["x"] - update.averaged["delta"]["x"]}
    # stationarity of f - <g, w> + alpha/2 |w - w0|^2 makes the renewed g the gradient of f there
    assert float(memory["gradient"]["x"]) == pytest.approx(float(task.gradient(solution)["x"]), rel=1e-13)


def test_the_coordinators_h_counts_absent_participants_as_unmoved() -> None:
    algorithm = feddyn(alpha=0.5)
    state = played(algorithm, pair(), rounds=1, sampler=FixedSize(1))
    moved = [float(played(feddyn(0.5), {name: task}, rounds=1).memory["h"]["x"]) for name, task in pair().items()]
    assert any(torch.isclose(state.memory["h"]["x"], torch.tensor([h / 2], dtype=torch.float64)) for h in moved)
