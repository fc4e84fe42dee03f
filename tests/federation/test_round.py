from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
import torch

from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.events import Event, ParticipantReported, RoundStarted
from foedus.federation.messages import ParticipantId, Reply, Request
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, ServerState
from foedus.federation.round import Federation, RoundPlan, evaluate, is_evaluated, play_round
from foedus.federation.sampling import Everyone, FixedSize, Poisson
from foedus.strategies.fedavg import fedavg
from foedus.strategies.fedavgm import fedavgm
from strategies.quadratics import QuadraticTask, pair, place, point


def federated(algorithm: Algorithm, tasks: Mapping[str, LocalTask], plan: RoundPlan | None = None) -> Federation:
    return Federation(
        algorithm,
        InProcessEngine(algorithm.local, tasks),
        Everyone(),
        plan or RoundPlan(rounds=10),
        SeedKey.from_seed(0),
        score=lambda sums: {"loss": float(sums["loss"] / sums["units"])},
    )


def started(algorithm: Algorithm, at: float = 0.0) -> ServerState:
    return ServerState(0, point(at), algorithm.init(point(at)))


def test_a_round_trains_averages_and_steps() -> None:
    state, report = play_round(federated(fedavg(), pair((1, 1))), started(fedavg()))
    assert place(state) == pytest.approx(0.1, rel=1e-15)
    assert (state.round, report.round, report.stood, report.reason) == (1, 1, True, None)
    assert report.cohort == ("flat", "steep")


def test_a_round_changes_neither_the_state_it_starts_from_nor_the_federation() -> None:
    algorithm = fedavgm()
    state, federation = started(algorithm), federated(fedavgm(), pair())
    play_round(federation, state)
    assert state == ServerState(0, state.params, state.memory)
    assert float(state.params["x"]) == 0.0
    assert float(state.memory["momentum"]["x"]) == 0.0


def test_the_cohort_follows_the_seed_and_the_round() -> None:
    many = {str(i): QuadraticTask(1.0, 0.0, [0.1]) for i in range(20)}
    run = replace(federated(fedavg(), many), sampler=FixedSize(5))
    state, cohorts = started(fedavg()), []
    for _ in range(4):
        state, report = play_round(run, state)
        cohorts.append(report.cohort)
    assert len(set(map(tuple, cohorts))) == 4
    again = play_round(run, replace(started(fedavg()), round=2))[1].cohort
    assert again == cohorts[2]
    other = replace(run, seed=SeedKey.from_seed(1))
    assert play_round(other, started(fedavg()))[1].cohort != cohorts[0]


def test_the_engine_gets_each_phases_requests_all_at_once() -> None:
    phases: list[tuple[str, list[str]]] = []

    class Noting(InProcessEngine):
        def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
            phases.append((type(next(iter(requests.values()))).__name__, list(requests)))
            return super().exchange(requests)

    run = replace(federated(fedavg(), pair()), engine=Noting(fedavg().local, pair()))
    play_round(run, started(fedavg()))
    assert phases == [("Train", ["flat", "steep"]), ("Evaluate", ["flat", "steep"])]


def test_an_empty_cohort_does_not_stand() -> None:
    run = replace(federated(fedavg(), pair()), sampler=Poisson(1e-12))
    state, report = play_round(run, started(fedavg(), at=0.5))
    assert (report.cohort, report.reason) == ((), "0 of 0 updates could be used, min_reports is 1")
    assert (place(state), state.round) == (0.5, 1)


def stepping(step: object) -> Algorithm:
    return replace(fedavg(), step=step)  # type: ignore[arg-type] # a step as a user may write it


def test_a_step_into_nan_is_not_taken() -> None:
    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        return point(math.nan), {"new": point(1.0)}

    state, report = play_round(federated(stepping(step), pair()), started(fedavg(), at=0.5))
    assert report.reason == "the step led to NaN or infinite parameters"
    assert (place(state), state.memory, state.round) == (0.5, {}, 1)


@pytest.mark.parametrize(
    ("returned", "problem"),
    [({}, "x is missing"), (point(1.0, 2.0), r"x has shape \(2,\), expected \(1,\)")],
)
def test_a_step_that_returns_other_parameters_is_an_error_of_the_strategy(returned: ParamTree, problem: str) -> None:
    run = federated(stepping(lambda state, aggregate: (returned, {})), pair())
    with pytest.raises(ConfigError, match=f"did not return the model's parameters: {problem}"):
        play_round(run, started(fedavg()))


def test_parameters_keep_their_type_whatever_a_step_returns() -> None:
    run = federated(stepping(lambda state, aggregate: (point(0.1), {})), pair())
    state, _ = play_round(run, ServerState(0, {"x": torch.zeros(1)}))
    assert state.params["x"].dtype == torch.float32


@pytest.mark.parametrize(
    ("every", "rounds", "expected"),
    [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (3, 6, [3, 6]), (7, 5, [5])],
)
def test_evaluations_come_every_so_many_rounds_and_after_the_last(every: int, rounds: int, expected: list[int]) -> None:
    plan = RoundPlan(rounds, evaluate_every=every)
    assert [n for n in range(1, rounds + 1) if is_evaluated(plan, n)] == expected


def test_only_planned_rounds_are_evaluated() -> None:
    run = federated(fedavg(), pair(), RoundPlan(rounds=3, evaluate_every=2))
    state, evaluated = started(fedavg()), []
    for _ in range(3):
        state, report = play_round(run, state)
        evaluated.append(report.evaluation is not None)
    assert evaluated == [False, True, True]


def test_an_evaluation_measures_the_new_parameters_on_everybody() -> None:
    run = replace(federated(fedavg(), pair()), sampler=FixedSize(1))
    state, report = play_round(run, started(fedavg()))
    assert report.evaluation is not None
    losses = {name: task.loss(state.params) for name, task in pair().items()}
    assert {name: float(sums["loss"]) for name, sums in report.evaluation.sites.items()} == losses
    assert float(report.evaluation.union["loss"]) == sum(losses.values())


def test_the_split_of_the_plan_is_the_one_measured() -> None:
    asked: list[str] = []

    class Noting(QuadraticTask):
        def evaluate(self, params: ParamTree, split: str) -> dict[str, torch.Tensor]:
            asked.append(split)
            return {}

    run = federated(fedavg(), {"a": Noting(1.0, 0.0, [0.1])}, RoundPlan(rounds=1, split="validation"))
    assert evaluate(run, started(fedavg())).union == {}
    assert asked == ["validation"]


def events_of(plan: RoundPlan, tasks: Mapping[str, LocalTask]) -> list[Event]:
    events: list[Event] = []
    play_round(federated(fedavg(), tasks, plan), started(fedavg()), events.append)
    return events


def test_observers_are_told_who_reports_in_which_phase_in_order() -> None:
    events = events_of(RoundPlan(rounds=1), pair())
    assert events[0] == RoundStarted(1, ("flat", "steep"))
    reports = [event for event in events if isinstance(event, ParticipantReported)]
    assert [(event.phase, event.participant) for event in reports] == [
        ("train", "flat"),
        ("train", "steep"),
        ("evaluate", "flat"),
        ("evaluate", "steep"),
    ]
    assert {event.round for event in reports} == {1}
    assert all(event.seconds is not None and event.seconds >= 0 for event in reports)
    assert [event.loss is not None for event in reports] == [True, True, False, False]


def test_observers_see_no_sites_loss_where_these_may_not_be_shown() -> None:
    events = events_of(RoundPlan(rounds=1, per_site=False), pair())
    reports = [event for event in events if isinstance(event, ParticipantReported)]
    assert [(event.loss, event.seconds) for event in reports] == [(None, None)] * 4


def test_observers_are_told_why_a_participant_failed() -> None:
    class Broken(QuadraticTask):
        def gradient(self, params: ParamTree) -> ParamTree:
            raise ValueError("patient Müller")

    events = events_of(RoundPlan(rounds=1), {**pair(), "c": Broken(1.0, 0.0, [0.1])})
    [failed] = [event for event in events if isinstance(event, ParticipantReported) and event.failure]
    assert (failed.participant, failed.phase, failed.loss) == ("c", "train", None)
    assert str(failed.failure).startswith("raised ValueError at test_round.py")
