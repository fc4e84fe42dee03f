"""Every family of models with every task that it can do, from CSV files to a folder that transformers loads."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import foedus
from end_to_end.small_runs import SITES, losses, records, small_run
from foedus.config.assemble import assemble
from foedus.config.dump import dump_config
from foedus.federation.messages import Sums
from foedus.reporting.records import read_run
from reporting.page_reading import assert_sound
from tiny_models import LABELS, Family, Head
from tiny_tasks import CASES

pytestmark = pytest.mark.end_to_end

PEFT_CLASSES: dict[Head, str] = {
    "classification": "AutoPeftModelForSequenceClassification",
    "causal_lm": "AutoPeftModelForCausalLM",
    "masked_lm": "AutoPeftModel",  # PEFT has no class for masked language models
    "sequence_to_sequence": "AutoPeftModelForSeq2SeqLM",
}
METRICS: dict[Head, set[str]] = {
    "classification": {"accuracy", "macro_f1", "loss"},
    "causal_lm": {"perplexity", "loss", "token_accuracy", "bits_per_byte"},
    "masked_lm": {"perplexity", "loss", "token_accuracy"},
    "sequence_to_sequence": {"perplexity", "loss", "token_accuracy"},
}
NUMBER_BYTES = 32  # of an update's weight, loss, steps and tokens


@pytest.mark.parametrize(("family", "head"), CASES, ids=str)
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_family_learns_a_task_and_leaves_an_ordinary_model(
    family: Family, head: Head, tuning: str, tmp_path: Path
) -> None:
    chosen = {"kind": "lora", "rank": 4} if tuning == "lora" else "full"
    local = {"learning_rate": 3e-2 if tuning == "lora" else 1e-2, "epochs": 2}
    result = foedus.run(small_run(tmp_path, family, head, model={"tuning": chosen}, local=local))

    assert losses(result.folder)[-1] < 0.99 * losses(result.folder)[0]
    assert [record["round"] for record in records(result.folder)] == [0, 1, 2]
    require_whole_folder(result, head)
    require_parameters_sent_once(result, tuning)
    require_the_same_model(result, head, tuning)
    require_answers(result, head)


def require_whole_folder(result: foedus.RunResult, head: Head) -> None:
    """Check that every file of the contract is there and says the same as the others."""
    folder = result.folder
    run = read_run(folder)
    assert run.summary.finished
    assert json.loads((folder / "summary.json").read_text()) == result.summary
    assert list(result.rounds) == records(folder)
    assert run.summary.final is not None
    assert run.summary.final.all is not None
    assert run.summary.final.all == records(folder)[-1]["evaluation"]["all"]
    assert set(run.summary.final.all) == METRICS[head]
    assert set(run.summary.final.sites or {}) == set(run.summary.sites or {}) == set(SITES)

    resolved = foedus.load_config(folder / "config.yaml")
    assert dump_config(resolved) == (folder / "config.yaml").read_text()

    page = assert_sound(result.report.read_text())
    assert all(site in page.text for site in SITES)
    card = ModelCard.load(folder / "model" / "README.md")
    assert card.data.library_name == ("peft" if (folder / "model" / "adapter_config.json").exists() else "transformers")
    assert card.data.metrics
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["round-00001", "round-00002"]
    assert {path.name for path in folder.rglob(".*")} <= {".lock", ".run-id"}  # nothing half-written


def require_parameters_sent_once(result: foedus.RunResult, tuning: str) -> None:
    """Check that the bytes are those of the trained tensors, tied ones once, in both directions."""
    parameters, folder = result.summary["parameters"], result.model
    name = "adapter_model.safetensors" if tuning == "lora" else "model.safetensors"
    saved = load_file(folder / name)
    saved.pop("final_logits_bias", None)  # BART's: saved, but no parameter
    assert parameters["sent"] == sum(tensor.numel() for tensor in saved.values())
    trained, evaluated, size = 2 * len(SITES), 3 * len(SITES), 4 * parameters["sent"]
    sent = result.summary["bytes"]
    assert sent["down"] == trained * size
    assert sent["up"] == trained * (size + NUMBER_BYTES)
    assert 0 < sent["evaluation"] - evaluated * size < evaluated * 100  # a dozen sums come back
    if tuning == "full":
        assert parameters["total"] == parameters["trained"] == parameters["sent"]
    else:
        assert parameters["trained"] < parameters["total"]


def require_the_same_model(result: foedus.RunResult, head: Head, tuning: str) -> None:
    """Check that transformers, and PEFT for adapters, load what was measured last."""
    assembly = assemble(foedus.load_config(result.folder / "config.yaml"))
    loaders = [getattr(transformers, assembly.task.auto_class)]
    if tuning == "lora":
        loaders.append(getattr(peft, PEFT_CLASSES[head]))
    for loader in loaders:
        with warnings.catch_warnings():
            # PEFT reads a property of transformers under its old name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            model = loader.from_pretrained(result.model).eval()
        if head == "classification":
            assert model.config.id2label == dict(enumerate(LABELS))
            assert model.config.label2id == {label: number for number, label in enumerate(LABELS)}
        tallies = [
            assembly.task.tally(model, assembly.task.collate([row]))
            for site in SITES
            for row in assembly.examples[site]["test"]
        ]
        measured = assembly.task.score(total(tallies))
        assert measured == pytest.approx(result.summary["final"]["all"], rel=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.model)
    assert tokenizer("pain in the chest")["input_ids"] == assembly.loaded.tokenizer("pain in the chest")["input_ids"]


def total(tallies: Sequence[Sums]) -> Sums:
    return {name: torch.stack([tally[name] for tally in tallies]).sum(0) for name in tallies[0]}


def require_answers(result: foedus.RunResult, head: Head) -> None:
    """Check that predictions are those of the model in the folder."""
    texts = ["pain in the chest", "the right skin"]
    match head:
        case "classification":
            found = foedus.predict(result.folder, texts, top_k=3)
            model = transformers.AutoModelForSequenceClassification.from_pretrained(result.model).eval()
            tokenizer = transformers.AutoTokenizer.from_pretrained(result.model)
            for text, prediction in zip(texts, found, strict=True):
                inputs: dict[str, Any] = {"input_ids": torch.tensor([tokenizer(text)["input_ids"]])}
                with torch.inference_mode():
                    expected = model(**inputs).logits.softmax(-1)[0]
                probabilities = {entry["label"]: entry["probability"] for entry in prediction["ranking"]}
                assert probabilities == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), rel=1e-4)
                assert math.isclose(prediction["probability"], max(probabilities.values()))
        case "masked_lm":
            mask = transformers.AutoTokenizer.from_pretrained(result.model).mask_token
            found = foedus.predict(result.folder, [f"pain in {mask} chest"], top_k=2)
            assert [len(gap) for gap in found[0]["gaps"]] == [2]
        case _:
            found = foedus.predict(result.folder, texts, max_new_tokens=4)
            assert [set(prediction) for prediction in found] == [{"text"}] * 2
            assert found == foedus.predict(result.folder, texts, max_new_tokens=4)
