"""What a participant trains alone: once, at home, and as if nothing had come between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from foedus.core.errors import ParticipantError
from foedus.federation.alone import ALONE, BESIDE, FEDERATED, MOST_AT_ONCE, START, OwnArm, by_model, joined
from foedus.federation.messages import Clock, Evaluate, Evaluation, Sums, TrainAlone
from foedus.federation.own_reports import OwnReports
from foedus.federation.participant import answer
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import QuadraticTask, point, statistics

TASK = QuadraticTask(1.0, 1.0, [0.1, 0.1], momentum=0.5, keep_optimizer=True)
ROUNDS = 6
LOCAL = fedavg().local  # is asked for nothing


def arm(folder: Path) -> OwnArm:
    return OwnArm(TASK, point(0.0), folder)


def straight(rounds: int) -> torch.Tensor:
    """Return where training leads that nothing interrupts."""
    params, optimizer = point(0.0), None
    for number in range(rounds):
        result = TASK.train(params, Clock(number, rounds), None, optimizer)
        params, optimizer = dict(result.params), result.optimizer
    return params["x"]


def test_round_by_round_is_training_without_a_break(tmp_path: Path) -> None:
    """The optimizer is kept, so that momentum goes on; each round is asked of an arm that was made anew."""
    for number in range(ROUNDS):
        arm(tmp_path).advance(Clock(number, ROUNDS))
    assert torch.equal(arm(tmp_path).params["x"], straight(ROUNDS))
    assert [path.name for path in tmp_path.iterdir()] == ["round-00006.safetensors"]


def test_what_was_trained_is_not_trained_again(tmp_path: Path) -> None:
    for _ in range(2):
        arm(tmp_path).advance(Clock(1, ROUNDS))
    assert torch.equal(arm(tmp_path).params["x"], straight(2))
    arm(tmp_path).advance(Clock(0, ROUNDS))  # the coordinator went back, and asks again
    assert arm(tmp_path).rounds == 2


def test_who_was_away_catches_up_a_few_rounds_at_a_time(tmp_path: Path) -> None:
    arm(tmp_path).advance(Clock(5, ROUNDS))
    assert arm(tmp_path).rounds == MOST_AT_ONCE
    arm(tmp_path).advance(Clock(5, ROUNDS))
    assert torch.equal(arm(tmp_path).params["x"], straight(ROUNDS))


def test_an_answer_that_compares_has_the_figures_of_all_three_and_they_stay_at_home_too(tmp_path: Path) -> None:
    seen: list[Mapping[str, Sums]] = []
    own = OwnArm(TASK, point(0.0), tmp_path, compared=seen.append)
    reply, _ = answer(LOCAL, TASK, TrainAlone(Clock(0, 1)), {}, arm=own)
    assert reply == Evaluation({})
    reply, _ = answer(LOCAL, TASK, Evaluate(point(1.0), "test", 1, compare=True), {}, arm=own)
    assert isinstance(reply, Evaluation)
    models = by_model(reply.sums)
    assert list(models) == [FEDERATED, *BESIDE]
    losses = {model: float(sums["loss"]) for model, sums in models.items()}
    assert losses == {FEDERATED: 0.0, START: 0.5, ALONE: TASK.loss(own.params)}
    assert 0 < losses[ALONE] < 0.5
    assert [figures.keys() for figures in seen] == [models.keys()]


def test_nobody_compares_what_is_not_trained(tmp_path: Path) -> None:
    compare = Evaluate(point(1.0), "test", 1, compare=True)
    with pytest.raises(ParticipantError, match="has trained alone for 0 of 1 rounds"):
        answer(LOCAL, TASK, compare, {}, arm=arm(tmp_path))
    for request in (TrainAlone(Clock(0, 1)), compare):
        with pytest.raises(ParticipantError, match="does not in this run"):
            answer(LOCAL, TASK, request, {})


def test_own_reports_say_which_model_a_line_is_of(tmp_path: Path) -> None:
    reports = OwnReports(tmp_path, "run", lambda sums: {"loss": float(sums["loss"])})
    sums = joined({FEDERATED: statistics(loss=1), START: statistics(loss=3), ALONE: statistics(loss=2)})
    reports.add("north", Evaluate({}, "test", 4, compare=True), sums)
    told: dict[str, Any] = {"round": 4, "split": "test"}
    assert [json.loads(line) for line in reports.path("north").read_text().splitlines()] == [
        {**told, "loss": 1.0},
        {**told, "model": "start", "loss": 3.0},
        {**told, "model": "alone", "loss": 2.0},
    ]
