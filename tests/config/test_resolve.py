from typing import Any

import pytest

from foedus.config import sections
from foedus.config.build import build_local_settings
from foedus.config.loading import load_config
from foedus.config.resolve import resolve

CLASSIFY = {"kind": "text_classification", "text": "t", "label": "l"}
CONTINUE = {"kind": "causal_lm", "text": "t"}


def load(**values: Any) -> sections.RunConfig:
    return load_config({"task": CLASSIFY, "model": {"path": "m"}, "participants": {"train": "*.csv"}} | values)


@pytest.mark.parametrize(
    ("task", "strategy", "weighting"),
    [
        (CLASSIFY, "fedavg", "examples"),
        (CONTINUE, "fedavg", "tokens"),
        (CONTINUE, {"kind": "fedadam", "weighting": "examples"}, "examples"),
        (CLASSIFY, "scaffold", "uniform"),
        (CONTINUE, "feddyn", "uniform"),
    ],
)
def test_participants_count_by_what_the_loss_is_a_mean_over(task: object, strategy: object, weighting: str) -> None:
    assert load(task=task, strategy=strategy).strategy.weighting == weighting


@pytest.mark.parametrize(
    ("model", "local", "rate"),
    [
        ({"path": "m"}, {}, 5e-5),
        ({"path": "m", "tuning": "lora"}, {}, 5e-4),
        ({"path": "m", "tuning": "head"}, {}, 5e-4),
        ({"kind": "architecture", "type": "gpt2", "tokenizer": "gpt2"}, {}, 5e-4),
        ({"path": "m"}, {"optimizer": "sgd"}, 0.05),
        ({"path": "m"}, {"learning_rate": 0.1}, 0.1),
    ],
)
def test_the_learning_rate_suits_what_is_trained(model: object, local: object, rate: float) -> None:
    assert load(model=model, local=local).local.learning_rate == rate


def test_a_round_is_one_epoch_unless_steps_are_given() -> None:
    assert (load().local.epochs, load().local.steps) == (1, None)
    assert (load(local={"steps": 5}).local.epochs, load(local={"steps": 5}).local.steps) == (None, 5)


def test_a_round_of_seconds_has_no_passes_and_a_first_number_of_steps() -> None:
    timed = load(local={"seconds": 5.0}).local
    assert (timed.epochs, timed.steps, timed.seconds) == (None, 10, 5.0)
    assert load(local={"seconds": 5.0, "steps": 3}).local.steps == 3
    assert load(local={"seconds": 5.0, "steps": None}).local.steps == 10


@pytest.mark.parametrize(
    ("strategy", "weighting"),
    [
        ("diloco", "tokens_seen"),
        ("fednova", "tokens"),
        ({"kind": "diloco", "weighting": "tokens"}, "tokens"),
        ("scaffold", "uniform"),
    ],
)
def test_in_a_given_time_participants_count_by_what_they_trained_on(strategy: object, weighting: str) -> None:
    assert load(task=CONTINUE, strategy=strategy, local={"seconds": 5.0}).strategy.weighting == weighting


@pytest.mark.parametrize(
    ("strategy", "rounds", "momentum"),
    [
        ({}, 10, 0.3),
        ({}, 24, 0.5),
        ({}, 72, 0.833),
        ({}, 500, 0.9),
        ({"momentum": None}, 24, 0.5),
        ({"momentum": 0.9}, 24, 0.9),
        ({"server_learning_rate": 1.0}, 10, 0.0),
    ],
)
def test_dilocos_momentum_suits_the_number_of_rounds_unless_it_is_given(
    strategy: dict[str, Any], rounds: int, momentum: float
) -> None:
    resolved = load(strategy={"kind": "diloco"} | strategy, rounds={"count": rounds}).strategy
    assert isinstance(resolved, sections.DiLoCo)
    assert resolved.momentum == momentum


def test_under_sparseloco_error_feedback_takes_the_place_of_dilocos_momentum() -> None:
    def strategy(**given: object) -> tuple[object, object]:
        resolved = load(strategy={"kind": "diloco"} | given, compression="sparseloco", rounds={"count": 500}).strategy
        assert isinstance(resolved, sections.DiLoCo)
        return resolved.momentum, resolved.server_learning_rate

    assert strategy() == (0.0, 1.0)
    assert strategy(momentum=0.5, server_learning_rate=0.7) == (0.5, 0.7)


@pytest.mark.parametrize(("inner_state", "kept"), [("keep", True), ("reset", False), ("average", False)])
def test_whether_optimizers_are_kept_follows_dilocos_inner_state(inner_state: str, kept: bool) -> None:
    config = load(strategy={"kind": "diloco", "inner_state": inner_state})
    assert config.local.keep_optimizer is kept
    assert build_local_settings(config).keep_optimizer is (inner_state != "reset")
    assert not load().local.keep_optimizer


def test_nothing_is_held_out_where_there_is_a_test_file() -> None:
    def test_share(**participants: Any) -> float:
        chosen = load(participants={"train": "a/*.csv"} | participants).participants
        assert isinstance(chosen, sections.Files)
        return chosen.split.test

    assert test_share() == 0.2
    assert test_share(test="b/*.csv") == 0
    assert test_share(split={"test": 0.3}) == 0.3
    assert test_share(test="b/*.csv", split={"test": 0.3}) == 0.3  # a contradiction: seen by `problems`


def test_alpha_is_twice_the_rank() -> None:
    tuning = load(model={"path": "m", "tuning": {"kind": "lora", "rank": 3}}).model.tuning
    assert isinstance(tuning, sections.Lora)
    assert tuning.alpha == 6


def test_resolving_again_changes_nothing() -> None:
    config = load(strategy="scaffold", local={"steps": 3})
    assert resolve(config) == config
