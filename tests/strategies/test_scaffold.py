from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch

from foedus.federation.messages import Broadcast, Clock, LocalUpdate
from foedus.federation.protocols import LocalTask, Memory
from foedus.federation.sampling import FixedSize
from foedus.strategies.fedavg import fedavg
from foedus.strategies.scaffold import scaffold
from strategies.quadratics import QuadraticTask, pair, place, played, point

Option = Literal[1, 2]
OPTIONS: list[Option] = [1, 2]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("steps", [(5, 5), (8, 2)])
def test_comes_to_rest_at_the_optimum_whatever_the_local_steps(option: Option, steps: tuple[int, int]) -> None:
    assert place(played(scaffold(option), pair(steps), rounds=600)) == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("option", OPTIONS)
def test_finds_the_optimum_with_one_participant_a_round(option: Option) -> None:
    rested = played(scaffold(option), pair(), rounds=3000, sampler=FixedSize(1))
    assert place(rested) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_first_round_is_fedavg(option: Option) -> None:
    expected = played(fedavg(), pair((3, 7)), rounds=1)
    assert torch.equal(played(scaffold(option), pair((3, 7)), rounds=1).params["x"], expected.params["x"])


@pytest.mark.parametrize("option", OPTIONS)
def test_a_single_participant_is_fedavg(option: Option) -> None:
    alone = {"alone": QuadraticTask(2.0, 3.0, [0.1] * 4)}
    assert place(played(scaffold(option), alone, rounds=6)) == pytest.approx(
        place(played(fedavg(), alone, rounds=6)), rel=1e-13
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_the_coordinators_control_stays_the_mean_over_the_whole_population(option: Option) -> None:
    remembered: dict[int, float] = {}

    def watched(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        update, memory = scaffold(option).local(task, broadcast, memory)
        remembered[id(task)] = float(memory["control"]["x"])
        return update, memory

    algorithm = replace(scaffold(option), local=watched)
    state = played(algorithm, {**pair(), "other": QuadraticTask(2.0, 5.0, [0.1])}, rounds=9, sampler=FixedSize(1))
    assert float(state.memory["control"]["x"]) == pytest.approx(sum(remembered.values()) / 3, rel=1e-12)


def test_option_2_divides_by_the_sum_of_step_sizes_so_that_schedules_are_right() -> None:
    task = QuadraticTask(4.0, 1.0, [0.2, 0.1, 0.05])
    update, memory = scaffold(2).local(task, Broadcast({"params": point(0.0), "control": point(0.0)}, Clock(0, 1)), {})
    positions = [0.0, 0.8, 0.88]
    weighted = sum(size * 4.0 * (x - 1.0) for size, x in zip(task.step_sizes, positions, strict=True)) / 0.35
    assert float(memory["control"]["x"]) == pytest.approx(weighted, rel=1e-14)
    assert torch.equal(update.summed["control"]["x"], memory["control"]["x"])


def test_option_1_remembers_the_gradient_at_the_received_parameters() -> None:
    task = pair()["steep"]
    _, memory = scaffold(1).local(task, Broadcast({"params": point(0.5), "control": point(0.0)}, Clock(0, 1)), {})
    assert torch.equal(memory["control"]["x"], task.gradient(point(0.5))["x"])


def test_a_round_without_steps_that_move_teaches_nothing() -> None:
    still = replace(pair()["steep"], step_sizes=[0.0, 0.0])
    before = {"control": point(0.25)}
    update, memory = scaffold(2).local(
        still, Broadcast({"params": point(0.5), "control": point(0.1)}, Clock(0, 1)), before
    )
    assert torch.equal(memory["control"]["x"], before["control"]["x"])
    assert not update.summed["control"]["x"].any()
