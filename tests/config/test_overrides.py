import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.config.overrides import override
from foedus.config.yaml_text import dump
from foedus.core.errors import ConfigError

KEYS = st.text("abcxyz_", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("before", "setting", "after"),
    [
        ({}, "seed=3", {"seed": 3}),
        ({"local": {"epochs": 2}}, "local.learning_rate=1e-3", {"local": {"epochs": 2, "learning_rate": 0.001}}),
        ({}, "local.optimizer.weight_decay=0", {"local": {"optimizer": {"weight_decay": 0}}}),
        ({"local": None}, "local.epochs=1", {"local": {"epochs": 1}}),
        ({"strategy": "fedprox"}, "strategy.mu=1", {"strategy": {"kind": "fedprox", "mu": 1}}),
        (
            {"participants": {"scenario": "clinics"}},
            "participants.scenario.hospitals=3",
            {"participants": {"scenario": {"kind": "clinics", "hospitals": 3}}},
        ),
        ({"strategy": {"kind": "fedadam"}}, "strategy=fedavg", {"strategy": "fedavg"}),
        ({}, "model.tuning={kind: lora, rank: 4}", {"model": {"tuning": {"kind": "lora", "rank": 4}}}),
        ({}, "task.labels=[no, yes]", {"task": {"labels": ["no", "yes"]}}),
        ({"x": [1, 2]}, "x.1=5", {"x": [1, 5]}),
        ({"x": [{"y": 1}]}, "x.0.y=2", {"x": [{"y": 2}]}),
        ({}, "local.gradient_clip=null", {"local": {"gradient_clip": None}}),
        ({}, "local.gradient_clip=", {"local": {"gradient_clip": None}}),
        ({}, "task.prefix='a=b: '", {"task": {"prefix": "a=b: "}}),
    ],
)
def test_a_setting_is_put_in_its_place(before: dict[str, Any], setting: str, after: dict[str, Any]) -> None:
    untouched = copy.deepcopy(before)
    assert override(before, [setting])[0] == after
    assert before == untouched


def test_a_later_setting_wins() -> None:
    assert override({}, ["seed=1", "seed=2"])[0] == {"seed": 2}


@given(st.lists(KEYS, min_size=1, max_size=4), st.integers() | st.booleans() | KEYS.map(lambda key: f"{key} {key}"))
def test_a_set_value_stands_at_its_path_and_nothing_else_changes(path: list[str], value: Any) -> None:
    before = {"Other": {"kept": 1}}
    after, paths = override(before, [f"{'.'.join(path)}={dump(value).splitlines()[0]}"])
    assert paths == [tuple(path)]
    assert after.pop("Other") == {"kept": 1}
    for key in path:
        assert list(after) == [key]
        after = after[key]
    assert after == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "--set seed: write it as KEY=VALUE, such as local.learning_rate=1e-3"),
        ("=3", "--set =3: write it as KEY=VALUE, such as local.learning_rate=1e-3"),
        ("a..b=3", "--set a..b=3: write it as KEY=VALUE, such as local.learning_rate=1e-3"),
        ("seed.x=3", "--set seed: it is 0, and has no keys to set"),
        ("participants.train.a=x.csv", "--set participants.train: it is 'data/*.csv', and has no keys to set"),
        ("x.2=1", "--set x.2: x is a list; its entries are 0 to 1"),
        ("x.first=1", "--set x.first: x is a list; its entries are 0 to 1"),
        (
            "task.labels=[a",
            "--set task.labels=[a: line 1: this is not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
    ],
)
def test_what_cannot_be_set_is_refused(setting: str, message: str) -> None:
    values = {"seed": 0, "participants": {"train": "data/*.csv"}, "x": [1, 2]}
    with pytest.raises(ConfigError) as error:
        override(values, [setting])
    assert str(error.value) == message
