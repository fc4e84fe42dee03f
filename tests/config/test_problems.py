from typing import Any

import pytest

from foedus.config.loading import load_config
from foedus.config.problems import problems, refuse_problems
from foedus.core.errors import ConfigError

CLASSIFY = {"kind": "text_classification", "text": "t", "label": "l"}
CONTINUE = {"kind": "causal_lm", "text": "t"}
SCRATCH = {"kind": "architecture", "type": "gpt2", "tokenizer": "gpt2"}
SGD = {"optimizer": "sgd"}


def found(**values: Any) -> list[str]:
    small = {"task": CLASSIFY, "model": {"path": "m"}, "participants": {"train": "*.csv"}}
    return problems(load_config(small | values))


@pytest.mark.parametrize(
    ("values", "begin"),
    [
        (
            {"evaluation": {"baselines": True}, "local": {"seconds": 5}},
            "evaluation.baselines: with local.seconds participants make as many steps as they find time for",
        ),
        (
            {"strategy": "scaffold"},
            "strategy: scaffold needs local.optimizer sgd without momentum: it takes the distance gone, divided by the "
            "step sizes, for a gradient (Karimireddy et al. 2020), and under adamw that is none; use sgd, or fedprox "
            "with adamw",
        ),
        (
            {"strategy": "scaffold", "local": {"optimizer": {"kind": "sgd", "momentum": 0.9}}},
            "local.optimizer.momentum: is 0.9; scaffold needs 0: ",
        ),
        (
            {"strategy": {"kind": "scaffold", "weighting": "examples"}, "local": SGD},
            "strategy.weighting: is examples; scaffold needs uniform: its control variates are plain means, so that a "
            "weighted average would not come to rest at the optimum",
        ),
        (
            {"strategy": {"kind": "feddyn", "weighting": "examples"}},
            "strategy.weighting: is examples; feddyn needs uniform: ",
        ),
        (
            {"strategy": "fednova"},
            "strategy: fednova normalises updates by a closed form that sgd has and adamw has not; use sgd, or set "
            "strategy.adaptive_heuristic: true to divide by the number of steps, which is a heuristic",
        ),
        (
            {"strategy": "scaffold", "local": {"optimizer": "muon"}},
            "strategy: scaffold needs local.optimizer sgd without momentum: it takes the distance gone, divided by the "
            "step sizes, for a gradient (Karimireddy et al. 2020), and under muon that is none; use sgd, or fedprox "
            "with muon",
        ),
        (
            {"strategy": "fednova", "local": {"optimizer": "muon"}},
            "strategy: fednova normalises updates by a closed form that sgd has and muon has not; use sgd, ",
        ),
        (
            {"local": {"optimizer": "muon"}, "model": {"path": "m", "tuning": "lora"}},
            "local.optimizer: muon orthogonalises the steps of whole hidden matrices, and model.tuning lora trains "
            "none of these; use adamw, or model.tuning full",
        ),
        (
            {"strategy": "diloco", "local": {"keep_optimizer": False}},
            "local.keep_optimizer: is false, but strategy.inner_state is keep; with diloco the latter decides, so "
            "remove local.keep_optimizer",
        ),
        (
            {"strategy": {"kind": "diloco", "inner_state": "average"}, "local": {"keep_optimizer": True}},
            "local.keep_optimizer: is true, but strategy.inner_state is average; ",
        ),
        (
            {"strategy": {"kind": "diloco", "inner_state": "average", "streaming": {}}},
            "strategy.inner_state: average sends the whole optimizer's state, and strategy.streaming a fragment of ",
        ),
        (
            {"strategy": {"kind": "diloco", "streaming": {"overlap": 6}}, "local": {"steps": 5}},
            "strategy.streaming.overlap: is 6, but a round has 5 steps (local.steps); ",
        ),
        (
            {"strategy": {"kind": "diloco", "streaming": {"fragments": 8}}, "rounds": {"count": 7}},
            "strategy.streaming.fragments: is 8, but with 7 rounds (rounds.count) some would never be sent; ",
        ),
        (
            {"rounds": {"count": 3, "joins": {"a": 4}}},
            "rounds.joins: a comes in round 4, but there are 3 (rounds.count)",
        ),
        (
            {"rounds": {"count": 9, "joins": {"a": 4}, "leaves": {"a": 3}}},
            "rounds.leaves: a leaves after round 3, before it comes in round 4",
        ),
        (
            {"strategy": "scaffold", "local": SGD, "rounds": {"leaves": {"a": 4}}},
            "rounds.joins: scaffold keeps a sum over all participants at the coordinator, ",
        ),
        (
            {"strategy": "fedexp", "compression": "int8"},
            "compression: int8 does not go with strategy fedexp: its step compares how long updates and their mean "
            "are, and compression changes these differently; use compression none, or fedavg, ",
        ),
        (
            {"strategy": "scaffold", "local": SGD, "compression": "int4"},
            "compression: int4 does not go with strategy scaffold: its control variates have to be those of the "
            "updates received; ",
        ),
        (
            {"strategy": "feddyn", "compression": {"broadcast": "int8"}},
            "compression: broadcast does not go with strategy feddyn: ",
        ),
        (
            {"strategy": "feddyn", "compression": "fp16"},
            "compression: fp16 does not go with strategy feddyn: ",
        ),
        (
            {"strategy": "fednova", "local": SGD, "compression": {"kind": "top_k", "fraction": 0.1}},
            "compression: top_k does not go with strategy fednova: ",
        ),
        (
            {"strategy": {"weighting": "tokens"}},
            "strategy.weighting: tokens suits language models, ",
        ),
        ({"local": {"epochs": 1, "steps": 1}}, "local: give epochs or steps, not both"),
        ({"local": {"epochs": 1, "seconds": 1.0}}, "local: give epochs or seconds, not both"),
        ({"local": {"speeds": {"a": 1.0}}}, "local.speeds: goes with local.seconds, which is not given; "),
        ({"local": {"replay": "runs/x"}}, "local.replay: goes with local.seconds, which is not given; "),
        (
            {"local": {"seconds": 1.0, "speeds": {"a": 1.0}, "replay": "runs/x"}},
            "local: speeds and replay both say how many steps participants make; ",
        ),
        (
            {"strategy": {"weighting": "tokens_seen"}},
            "strategy.weighting: tokens_seen suits language models, ",
        ),
        (
            {"task": CONTINUE, "model": {"path": "m", "tuning": "head"}},
            "model.tuning: head trains the layer that a task puts on a model, and causal_lm puts none: a language "
            "model's last layer is its vocabulary; use lora or full",
        ),
        (
            {"task": CONTINUE, "model": SCRATCH | {"tuning": "lora"}},
            "model.tuning: lora leaves most weights as they are, and these are random in a model from scratch; "
            "use full",
        ),
        (
            {"output": {"merge_adapter": True}},
            "output.merge_adapter: there is no adapter to merge with model.tuning full; remove it",
        ),
        (
            {"participants": {"train": "a", "split": {"validation": 0.5, "test": 0.5}}},
            "participants.split: validation 0.5 and test 0.5 leave no rows to train on; they must sum to less than 1",
        ),
        (
            {"participants": {"train": "a", "test": "b", "split": {"test": 0.1}}},
            "participants.split.test: participants.test gives files of their own; remove one of the two",
        ),
        (
            {"participants": {"train": {"a": "a"}, "test": {"a": "b", "b": "c"}}},
            "participants.test: b has no file in participants.train",
        ),
        (
            {
                "task": CONTINUE,
                "participants": {
                    "kind": "partition",
                    "path": "a",
                    "into": {"kind": "dirichlet", "count": 2, "alpha": 1},
                },
            },
            "participants.into: dirichlet deals rows out by their class, and causal_lm has none; "
            "use column, iid or sizes",
        ),
        (
            {"participants": {"kind": "scenario", "scenario": "clinics"}},
            "task: the scenario clinics has texts in the column text, and classes in the column label",
        ),
        (
            {"participants": {"kind": "scenario", "scenario": "plays"}},
            "task: the scenario plays has texts in the column text, and no classes",
        ),
        (
            {
                "task": CONTINUE | {"text": "text"},
                "participants": {"kind": "scenario", "scenario": {"kind": "plays", "validation": 0.5, "test": 0.5}},
            },
            "participants.scenario: validation 0.5 and test 0.5 leave no speeches to train on; they must sum to less",
        ),
        (
            {
                "task": CONTINUE | {"text": "text"},
                "participants": {"kind": "scenario", "scenario": "plays"},
                "evaluation": {"split": "validation"},
            },
            "evaluation.split: is validation, but participants.scenario.validation is 0; give it a share of the text",
        ),
        (
            {"rounds": {"cohort": {"kind": "fixed", "size": 2}, "min_reports": 3}},
            "rounds.min_reports: is 3, but only 2 participants train in a round (rounds.cohort.size), so that no round "
            "would stand",
        ),
        (
            {
                "participants": {"kind": "partition", "path": "a", "into": {"kind": "iid", "count": 2}},
                "evaluation": {"split": "validation"},
            },
            "evaluation.split: is validation, but there are no such rows; ",
        ),
    ],
)
def test_a_combination_that_cannot_work_is_refused_with_the_reason(values: dict[str, Any], begin: str) -> None:
    (problem,) = found(**values)
    assert problem.startswith(begin)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"strategy": "scaffold", "local": SGD},
        {"strategy": "diloco", "compression": "int4", "local": {"optimizer": "muon"}},
        {"strategy": {"kind": "diloco", "inner_state": "reset"}},
        {"strategy": {"kind": "fednova", "adaptive_heuristic": True}, "local": {"optimizer": "muon"}},
        {"strategy": "fedyogi", "compression": "top_k", "model": {"path": "m", "tuning": "lora"}},
        {"strategy": "feddyn"},
        {"strategy": "fednova", "local": {"optimizer": {"kind": "sgd", "momentum": 0.9}}},
        {"strategy": {"kind": "fednova", "adaptive_heuristic": True}},
        {"strategy": {"weighting": "tokens"}, "task": CONTINUE},
        {"task": CONTINUE, "model": SCRATCH},
        {"model": {"path": "m", "tuning": "lora"}, "output": {"merge_adapter": True}},
        {"participants": {"train": "a/*", "test": "b/*", "split": {"validation": 0.1}}},
        {
            "task": {"kind": "masked_lm", "text": "text"},
            "participants": {"kind": "scenario", "scenario": {"kind": "plays", "validation": 0.1}},
            "evaluation": {"split": "validation"},
        },
        {
            "task": CONTINUE | {"text": "text"},
            "participants": {"kind": "scenario", "scenario": "clinics"},
            "evaluation": {"split": "validation"},
        },
    ],
)
def test_a_combination_that_works_is_let_through(values: dict[str, Any]) -> None:
    assert found(**values) == []


def test_all_problems_are_refused_at_once() -> None:
    values = {
        "task": CLASSIFY,
        "model": {"path": "m"},
        "participants": {"train": "*.csv"},
        "strategy": "scaffold",
        "local": {"epochs": 1, "steps": 1},
    }
    with pytest.raises(ConfigError) as error:
        refuse_problems(load_config(values))
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["strategy", "local"]
