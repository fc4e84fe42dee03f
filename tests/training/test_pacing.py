from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
import torch

from contracts.strategy_cases import STRATEGIES
from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.federation.checkpoints import load_checkpoint, save_checkpoint
from foedus.federation.messages import Clock
from foedus.federation.protocols import Algorithm, ServerState
from foedus.federation.round import Federation, RoundReport, play_round
from foedus.training.pacing import Assumed, Measured, Recorded, paced
from foedus.training.settings import LocalSettings, learning_rate_at
from foedus.training.site_task import SiteTask
from strategies.quadratics import federation
from training.small_task import site, small_model

SETTINGS = LocalSettings(learning_rate=0.01, batch_size=2, epochs=None, steps=3, schedule="linear", keep_optimizer=True)


@dataclass
class Stopwatch:
    """A clock by which each stretch of training takes as long as the next of `durations` says."""

    durations: Iterator[float]
    now: float = 0.0
    calls: Iterator[int] = field(default_factory=count)

    def __call__(self) -> float:
        if next(self.calls) % 2:  # the end of a stretch
            self.now += next(self.durations)
        return self.now


def measured(*durations: float, seconds: float = 10.0) -> SiteTask:
    return replace(site(SETTINGS), pace=Measured(seconds, first_steps=3, clock=Stopwatch(iter(durations))))


def run_of(algorithm: Algorithm, durations: Mapping[str, tuple[float, ...]], rounds: int = 4) -> Federation:
    return federation(paced(algorithm), {name: measured(*d) for name, d in durations.items()}, rounds=rounds)


def fresh(algorithm: Algorithm) -> ServerState:
    params = trees.clone(dict(small_model().named_parameters()))
    return ServerState(0, params, algorithm.init(params))


def plays(run: Federation, state: ServerState, rounds: int) -> tuple[ServerState, list[RoundReport]]:
    reports = []
    for _ in range(rounds):
        state, report = play_round(run, state)
        reports.append(report)
    return state, reports


def steps_of(reports: list[RoundReport], name: str) -> list[int]:
    return [report.collected.counts[name]["steps"] for report in reports]


def test_a_rounds_steps_fit_the_time_at_the_speed_of_earlier_rounds() -> None:
    # 3 steps in 6 s: 2 s a step; then 5 in 5 s: (1 + 2) / 2; then 6 in 30 s: (5 + 1.5) / 2; then 3.
    run = run_of(STRATEGIES["diloco"](), {"a": (6.0, 5.0, 30.0, 1.0), "b": (300.0, 100.0, 100.0, 100.0)})
    _, reports = plays(run, fresh(run.algorithm), 4)
    assert steps_of(reports, "a") == [3, 5, 6, 3]
    assert steps_of(reports, "b") == [3, 1, 1, 1]
    assert [report.collected.total.counts["steps"] for report in reports] == [6, 6, 7, 4]


@pytest.mark.parametrize("name", ["fedavg", "scaffold option 2", "fednova", "feddyn", "fedexp", "diloco"])
def test_every_strategy_goes_on_bit_for_bit_with_the_speeds_of_the_checkpoint(name: str, tmp_path: Path) -> None:
    algorithm = STRATEGIES[name]()
    durations = {"a": (6.0, 5.0, 30.0, 1.0), "b": (1.5, 2.0, 2.0, 2.0)}
    run = run_of(algorithm, durations)
    expected, reports = plays(run, fresh(algorithm), 4)

    before = run_of(algorithm, durations)
    state, _ = plays(before, fresh(algorithm), 2)
    place = save_checkpoint(tmp_path, state, before.engine, {}, keep=1)
    # The interrupted round is played on a machine that is slower by now: its steps were fixed before.
    after = run_of(algorithm, {"a": (90.0, 1.0), "b": (90.0, 1.0)})
    loaded, _ = load_checkpoint(place, after.engine)
    again, replayed = plays(after, loaded, 1)
    assert [steps_of(replayed, site) for site in "ab"] == [[steps_of(reports, site)[2]] for site in "ab"]
    whole, _ = plays(run_of(algorithm, durations), fresh(algorithm), 3)
    assert all(torch.equal(again.params[name], tensor) for name, tensor in whole.params.items())
    assert expected.round == 4


def test_a_participant_left_out_goes_by_the_speed_it_had_before() -> None:
    run = run_of(STRATEGIES["fedavg"](), {"a": (6.0, 60.0, 1.0), "b": (3.0, 3.0, 3.0)})
    state, first = plays(run, fresh(run.algorithm), 1)
    lost = replace(run, plan=replace(run.plan, min_reports=3))
    state, second = plays(lost, state, 1)
    assert not second[0].stood
    _, third = plays(run, state, 1)
    assert steps_of([*first, *second, *third], "a") == [3, 5, 5]


def test_recorded_steps_are_made_again_and_lead_to_the_same_bits() -> None:
    algorithm = STRATEGIES["diloco"]()
    run = run_of(algorithm, {"a": (6.0, 5.0, 30.0, 1.0), "b": (1.5, 2.0, 2.0, 2.0)})
    expected, reports = plays(run, fresh(algorithm), 4)
    tasks = {
        name: replace(site(SETTINGS), pace=Recorded(dict(enumerate(steps_of(reports, name))))) for name in ("a", "b")
    }
    again, _ = plays(federation(paced(algorithm), tasks, rounds=4), fresh(algorithm), 4)
    assert all(torch.equal(again.params[name], tensor) for name, tensor in expected.params.items())


def test_a_round_that_the_record_lacks_is_an_error() -> None:
    task = replace(site(SETTINGS), pace=Recorded({0: 3}))
    params = trees.clone(dict(small_model().named_parameters()))
    assert task.train(params, Clock(0, 2)).counts["steps"] == 3
    with pytest.raises(ParticipantError, match=r"local\.replay names has no steps of its round 2"):
        task.train(params, Clock(1, 2))


def test_an_assumed_speed_is_the_same_in_every_round_and_leaves_nothing_to_remember() -> None:
    task = replace(site(SETTINGS), pace=Assumed(seconds=3.0, speed=0.7))
    assert [task.steps_of(number) for number in range(3)] == [2, 2, 2]
    run = federation(paced(STRATEGIES["diloco"]()), {"a": task}, rounds=2)
    _, reports = plays(run, fresh(run.algorithm), 2)
    assert steps_of(reports, "a") == [2, 2]


def test_the_learning_rate_runs_on_the_runs_clock_however_many_steps_a_round_has() -> None:
    task = measured(6.0, 5.0)
    params = trees.clone(dict(small_model().named_parameters()))
    first = task.train(params, Clock(0, 2))
    second = task.train(trees.clone(first.params), Clock(1, 2), optimizer=first.optimizer, speed=first.speed)
    assert first.step_sizes == [learning_rate_at(SETTINGS, index / 3 / 2) for index in range(3)]
    assert second.step_sizes == [learning_rate_at(SETTINGS, (1 + index / 5) / 2) for index in range(5)]


Change = Callable[[trees.ParamTree], trees.ParamTree]


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_an_intervention_happens_after_exactly_so_many_steps(after: int) -> None:
    """Against training in two parts by hand; one beyond the last step happens at the end."""
    settings = replace(SETTINGS, schedule="constant", optimizer="adamw", batch_size=10, group_by_length=False)
    halve: Change = lambda params: {name: t / 2 for name, t in params.items() if name == "0.weight"}  # noqa: E731
    start = trees.clone(dict(small_model().named_parameters()))
    actual = trees.clone(site(settings).train(start, Clock(0, 1), interventions={after: halve}).params)

    params, optimizer = start, None
    here = site(settings)
    for index in range(3):  # every step takes all rows, so a round of one step is a step of the round
        if index == after:
            params = {**params, **halve(params)}
        result = replace(here, settings=replace(settings, steps=1)).train(params, Clock(0, 1), optimizer=optimizer)
        params, optimizer = trees.clone(result.params), result.optimizer
    if after >= 3:
        params = {**params, **halve(params)}
    for name, tensor in params.items():
        torch.testing.assert_close(actual[name], tensor, rtol=1e-5, atol=1e-6)
