from typing import Any

import jsonschema
import pytest

from foedus.config.dump import dump_config
from foedus.config.loading import load_config
from foedus.config.schema import json_schema
from foedus.config.yaml_text import parse

SMALL = """\
task: {kind: text_classification, text: [a, b], label: grade, labels: [no, 1, true]}
model: {path: gpt2, tuning: lora}
participants: {train: [a.csv, b.csv], test: {a: c.csv, b: d.csv}}
strategy: fedprox
local: {optimizer: {weight_decay: 0}, schedule: cosine, gradient_clip: null}
rounds: {cohort: {kind: fixed, size: 2}}
"""


def valid(text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(parse(text, "text").value))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_good_files_are_valid() -> None:
    assert valid(SMALL)
    assert valid(dump_config(load_config(parse(SMALL, "text").value)))


@pytest.mark.parametrize(
    "added",
    ["seeed: 1", "seed: -1", "evaluation: {batch_size: 0}", "device: 3", "output: {trackers: [x]}"],
)
def test_what_the_loader_refuses_is_not_valid(added: str) -> None:
    assert not valid(f"{SMALL}{added}")


def test_a_scenario_is_a_name_or_has_settings() -> None:
    other = SMALL.replace("train: [a.csv, b.csv], test: {a: c.csv, b: d.csv}", "kind: scenario, scenario: SCENARIO")
    assert valid(other.replace("SCENARIO", "clinics"))
    assert valid(other.replace("SCENARIO", "{hospitals: 3}"))
    assert not valid(other.replace("SCENARIO", "clinic"))


def test_a_tokenizer_is_a_name_or_one_that_is_made() -> None:
    scratch = SMALL.replace("{path: gpt2, tuning: lora}", "{kind: architecture, type: gpt2, tokenizer: TOKENIZER}")
    for tokenizer in ("gpt2", "package:a", "bytes", "{kind: bpe, vocabulary: 300}", "{kind: existing, path: a/b}"):
        assert valid(scratch.replace("TOKENIZER", tokenizer)), tokenizer
    for tokenizer in ("{kind: bpe, vocabulary: 3}", "{kind: words}", "[a]"):
        assert not valid(scratch.replace("TOKENIZER", tokenizer)), tokenizer


def test_an_unknown_kind_is_not_valid() -> None:
    assert not valid(SMALL.replace("fedprox", "fedprx"))


def test_every_key_says_what_it_is_for() -> None:
    def silent(schema: dict[str, Any], name: str) -> list[str]:
        return [
            f"{name}.{key}"
            for key, value in schema["properties"].items()
            if key != "kind" and "description" not in value and "$ref" not in value
        ]

    schema = json_schema()
    assert [key for name, part in schema["$defs"].items() for key in silent(part, name)] == []
    assert silent(schema, "top") == []
