from typing import Any

import pytest

from foedus.config.loading import load_config
from foedus.config.problems import problems

CLASSIFY = {"kind": "text_classification", "text": "t", "label": "l", "labels": ["a", "b"]}
CONTINUE = {"kind": "causal_lm", "text": "t"}
RECORDS = {"kind": "records", "epsilon": 8}
PARTICIPANTS = {"kind": "participants", "noise_multiplier": 1.0}
COINS = {"cohort": {"kind": "poisson", "rate": 0.1}}
GROUPS = {"cohort": {"kind": "cyclic", "separation": 4}}


def found(**values: Any) -> list[str]:
    small = {"task": CLASSIFY, "model": {"path": "m"}, "participants": {"train": "*.csv"}}
    return problems(load_config(small | values))


@pytest.mark.parametrize(
    "values",
    [
        {"privacy": RECORDS},
        {"privacy": {"kind": "records", "noise_multiplier": 1.1}},
        {"privacy": RECORDS, "task": CONTINUE},
        {"privacy": {**RECORDS, "record": "block"}, "task": {**CONTINUE, "packing": True}},
        {"privacy": {**RECORDS, "sizes": "public"}, "strategy": {"kind": "fedavg", "weighting": "examples"}},
        {"privacy": RECORDS, "strategy": {"kind": "scaffold", "option": 2}, "local": {"optimizer": "sgd"}},
        {"privacy": RECORDS, "strategy": {"kind": "diloco", "streaming": {}}},
        {"privacy": PARTICIPANTS, "rounds": COINS},
        {"privacy": {**PARTICIPANTS, "mechanism": {"kind": "stream", "band": 4}}, "rounds": GROUPS},
    ],
)
def test_what_goes_with_privacy_is_filled_in_so_that_a_few_lines_do(values: dict[str, Any]) -> None:
    assert found(**values) == []


@pytest.mark.parametrize(
    ("values", "begin"),
    [
        (
            {"privacy": {**RECORDS, "person_at": "several_participants"}},
            "privacy.epsilon: is 8, to which each participant keeps by itself; what several spend",
        ),
        ({"privacy": {"kind": "records"}}, "privacy: neither of epsilon and noise_multiplier are given; give one"),
        (
            {"privacy": {**RECORDS, "noise_multiplier": 1.0}},
            "privacy: both of epsilon and noise_multiplier are given; give one",
        ),
        (
            {"privacy": RECORDS, "evaluation": {"per_site": True}},
            "evaluation.per_site: shows exact figures of single participants",
        ),
        (
            {"privacy": RECORDS, "task": {"kind": "text_classification", "text": "t", "label": "l"}},
            "task.labels: left out, they are gathered from private rows",
        ),
        (
            {
                "privacy": RECORDS,
                "task": CONTINUE,
                "model": {"kind": "architecture", "type": "gpt2", "tokenizer": {"kind": "bpe"}},
            },
            "model.tokenizer: bpe is learnt from exact counts of private text",
        ),
        (
            {"privacy": RECORDS, "strategy": {"kind": "fedavg", "weighting": "examples"}},
            "strategy.weighting: is examples, an exact count of private rows; use uniform, or privacy.sizes: public",
        ),
        (
            {"privacy": PARTICIPANTS, "rounds": COINS, "strategy": {"kind": "fedavg", "weighting": "examples"}},
            "strategy.weighting: is examples, an exact count of private rows; use uniform",
        ),
        (
            {"privacy": RECORDS, "task": {**CONTINUE, "packing": True}},
            "privacy.record: is row, but task.packing puts several rows into one example",
        ),
        (
            {"privacy": {**RECORDS, "record": "block"}, "task": CONTINUE},
            "privacy.record: is block, but nothing is packed into blocks here; use row",
        ),
        (
            {"privacy": RECORDS, "local": {"gradient_clip": 1.0}},
            "local.gradient_clip: is 1; it would shrink noise and gradient together",
        ),
        (
            {"privacy": RECORDS, "local": {"group_by_length": True}},
            "local.group_by_length: private batches are drawn by coins",
        ),
        (
            {
                "privacy": RECORDS,
                "strategy": {"kind": "scaffold", "option": 1},
                "local": {"optimizer": "sgd", "gradient_clip": None},
            },
            "strategy.option: scaffold's option 1 sends a gradient over all rows, which no noise covers; use option 2",
        ),
        ({"privacy": PARTICIPANTS}, "rounds.cohort: is all; privacy.mechanism cohorts counts on cohorts drawn by"),
        (
            {"privacy": PARTICIPANTS, "rounds": {"cohort": {"kind": "fixed", "size": 2}}},
            "rounds.cohort: is fixed; privacy.mechanism cohorts counts on cohorts drawn by",
        ),
        (
            {"privacy": {**PARTICIPANTS, "mechanism": "stream"}, "rounds": COINS},
            "rounds.cohort: is poisson; privacy.mechanism stream counts on a number of rounds between two",
        ),
        (
            {"privacy": {**PARTICIPANTS, "mechanism": {"kind": "stream", "band": 9}}, "rounds": GROUPS},
            "privacy.mechanism.band: is 9; noise shared over more rounds than lie between two of a participant's (4,",
        ),
        (
            {"privacy": PARTICIPANTS, "rounds": {**COINS, "min_reports": 2}},
            "rounds.min_reports: is 2; whether enough came would tell who did",
        ),
        ({"privacy": RECORDS, "local": {"seconds": 5.0}}, "local.seconds: how many steps fit into it is seen as"),
        (
            {"privacy": RECORDS, "task": CONTINUE, "local": {"seconds": 5.0}},
            "local.seconds: how many steps fit into it is seen as",
        ),
        (
            {"privacy": PARTICIPANTS, "rounds": COINS, "strategy": {"kind": "diloco", "streaming": {}}},
            "strategy.streaming: sends those who were in the last round something else",
        ),
        (
            {"privacy": PARTICIPANTS, "rounds": {**COINS, "joins": {"a": 2}}},
            "rounds.joins: noise and cohorts are planned for the same participants in every round",
        ),
        (
            {"privacy": PARTICIPANTS, "rounds": COINS, "compression": "int8"},
            "compression: int8 changes how long an upload is after it was clipped",
        ),
    ],
)
def test_what_privacy_does_not_cover_is_refused_with_what_to_do(values: dict[str, Any], begin: str) -> None:
    (problem,) = found(**values)
    assert problem.startswith(begin)


def test_without_privacy_nothing_of_it_is_asked() -> None:
    assert found(evaluation={"per_site": True}, strategy={"kind": "fedavg", "weighting": "examples"}) == []
