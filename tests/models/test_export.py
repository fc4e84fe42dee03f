import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from foedus.core.errors import ModelError
from foedus.core.seeds import SeedKey
from foedus.models.export import load_for_prediction, save_model
from foedus.models.loading import load_model, load_tokenizer
from foedus.models.sources import Architecture, Checkpoint
from foedus.models.travel import travelling
from foedus.models.tuning import Full, LoRA, Tuning, tune
from foedus.models.tuning import Head as HeadOnly
from foedus.training.task import Task
from tiny_models import LABELS, Family, Head, tiny_folder, tiny_tokenizer
from tiny_tasks import CASES, ROWS, load_tiny, tuned_tiny

PEFT_CLASSES: dict[Head, str] = {
    "classification": "AutoPeftModelForSequenceClassification",
    "causal_lm": "AutoPeftModelForCausalLM",
    "masked_lm": "AutoPeftModel",  # PEFT has no class for masked language models
    "sequence_to_sequence": "AutoPeftModelForSeq2SeqLM",
}


def trained(model: Any) -> Any:
    """Return the model with other values in all that is trained."""
    generator = torch.Generator().manual_seed(0)
    for parameter in travelling(model).values():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval()


def losses(model: Any, task: Task) -> torch.Tensor:
    """Return each row's loss."""
    with torch.inference_mode():
        return torch.stack([task.loss(model, task.collate([row])).total for row in task.encode(ROWS)])


@contextmanager
def tolerating_peft() -> Iterator[None]:
    """PEFT reads a property of transformers under its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def require_equal(load: Callable[[], Any], model: Any, task: Task, head: Head, tolerance: float = 1e-6) -> None:
    with tolerating_peft():
        loaded = load().eval()
    torch.testing.assert_close(losses(loaded, task), losses(model, task), rtol=tolerance, atol=tolerance)
    if head == "classification":
        assert loaded.config.id2label == dict(enumerate(LABELS))


WHOLE_CASES = [
    *((family, head, Full()) for family, head in CASES),
    *((family, head, HeadOnly()) for family, head in CASES if head == "classification"),
]


@pytest.mark.parametrize(("family", "head", "tuning"), WHOLE_CASES, ids=str)
def test_a_whole_model_is_loaded_as_it_was_saved(family: Family, head: Head, tuning: Tuning, tmp_path: Path) -> None:
    model, task = tuned_tiny(family, head, tuning, tmp_path)
    folder = tmp_path / "model"
    save_model(trained(model), load_tokenizer(Checkpoint(model.name_or_path)), folder)

    auto = getattr(transformers, task.auto_class)
    require_equal(lambda: auto.from_pretrained(folder), model, task, head)
    require_equal(lambda: load_for_prediction(folder)[0], model, task, head)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_transformers_and_peft_load_an_adapter(family: Family, head: Head, tmp_path: Path) -> None:
    model, task = tuned_tiny(family, head, LoRA(rank=2), tmp_path)
    folder = tmp_path / "model"
    save_model(trained(model), load_tokenizer(Checkpoint(_base(model))), folder)

    auto, auto_peft = getattr(transformers, task.auto_class), getattr(peft, PEFT_CLASSES[head])
    require_equal(lambda: auto.from_pretrained(folder), model, task, head)
    require_equal(lambda: auto_peft.from_pretrained(folder), model, task, head)
    require_equal(lambda: load_for_prediction(folder)[0], model, task, head)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_a_merged_adapter_is_an_ordinary_model(family: Family, head: Head, tmp_path: Path) -> None:
    model, task = tuned_tiny(family, head, LoRA(rank=2, target_modules="all-linear"), tmp_path)
    before = losses(trained(model), task)
    folder = tmp_path / "model"
    save_model(model, load_tokenizer(Checkpoint(_base(model))), folder, merge=True)

    assert not list(folder.glob("adapter*"))
    auto = getattr(transformers, task.auto_class)
    require_equal(lambda: auto.from_pretrained(folder), model, task, head, tolerance=1e-4)
    assert torch.equal(losses(model, task), before)  # the model that is saved is not the one that is merged


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "roberta"])
def test_an_adapter_carries_the_new_parts_of_its_base(family: Family, tmp_path: Path) -> None:
    loaded, task = load_tiny(tiny_folder(family, tmp_path), "masked_lm")
    model = trained(tune(loaded, LoRA(rank=2), task.peft_task_type, SeedKey.from_seed(1)))
    folder = tmp_path / "model"
    save_model(model, loaded.tokenizer, folder)
    require_equal(lambda: transformers.AutoModelForMaskedLM.from_pretrained(folder), model, task, "masked_lm")
    require_equal(lambda: peft.AutoPeftModel.from_pretrained(folder), model, task, "masked_lm")


def test_an_adapter_of_a_language_model_refers_to_its_base_and_is_small(tmp_path: Path) -> None:
    model, _ = tuned_tiny("gpt2", "causal_lm", LoRA(), tmp_path)
    save_model(model, tiny_tokenizer("gpt2"), tmp_path / "model")
    adapter = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tmp_path / "gpt2-causal_lm")
    assert not (tmp_path / "model" / "model.safetensors").exists()


def test_an_adapter_with_its_base_can_be_moved(tmp_path: Path) -> None:
    model, task = tuned_tiny("bert", "classification", LoRA(), tmp_path)
    save_model(trained(model), load_tokenizer(Checkpoint(_base(model))), tmp_path / "model")
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    require_equal(lambda: load_for_prediction(moved)[0], model, task, "classification")


def test_an_adapter_of_a_base_that_nothing_can_load_is_merged(tmp_path: Path) -> None:
    loaded, task = load_tiny(tiny_folder("gpt2", tmp_path, "causal_lm"), "causal_lm")
    model = tune(loaded, LoRA(), task.peft_task_type, SeedKey.from_seed(1))
    model.peft_config["default"].base_model_name_or_path = None  # type: ignore[index, union-attr] # as from a GGUF file
    save_model(trained(model), loaded.tokenizer, tmp_path / "model")
    assert not list((tmp_path / "model").glob("adapter*"))
    require_equal(lambda: load_for_prediction(tmp_path / "model")[0], model, task, "causal_lm", tolerance=1e-4)


def test_a_pipeline_takes_the_folder(tmp_path: Path) -> None:
    model, _ = tuned_tiny("bert", "classification", LoRA(), tmp_path)
    save_model(trained(model), load_tokenizer(Checkpoint(_base(model))), tmp_path / "model")
    with tolerating_peft():
        classify = transformers.pipeline("text-classification", model=str(tmp_path / "model"))
    assert classify("skin")[0]["label"] in LABELS


def test_a_model_from_scratch_is_saved_whole(tmp_path: Path) -> None:
    tiny_tokenizer("t5").save_pretrained(tmp_path / "tokenizer")
    source = Architecture("t5", str(tmp_path / "tokenizer"), {"d_model": 16, "num_layers": 1, "num_heads": 2})
    loaded = load_model(source, load_tokenizer(source), "AutoModelForSeq2SeqLM", SeedKey.from_seed(0))
    save_model(tune(loaded, Full(), "SEQ_2_SEQ_LM", SeedKey.from_seed(0)), loaded.tokenizer, tmp_path / "model")
    model, tokenizer = load_for_prediction(tmp_path / "model")
    assert len(tokenizer) == len(loaded.tokenizer)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), loaded.model.parameters(), strict=True))


def test_saving_replaces_an_older_model_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model, _ = tuned_tiny("bert", "classification", LoRA(), tmp_path)
    tokenizer = load_tokenizer(Checkpoint(_base(model)))
    save_model(model, tokenizer, folder)
    save_model(model, tokenizer, folder, merge=True)
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {file.name for file in tmp_path.iterdir()} == {"bert-none", "model"}  # nothing is left beside it


def test_saving_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, _ = tuned_tiny("bert", "classification", LoRA(), tmp_path)
    tokenizer = load_tokenizer(Checkpoint(_base(model)))
    capfd.readouterr()
    save_model(model, tokenizer, tmp_path / "model")
    save_model(model, tokenizer, tmp_path / "model", merge=True)
    load_for_prediction(tmp_path / "model")
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither config\.json nor adapter_config\.json"):
        load_for_prediction(tmp_path)


def test_a_base_that_is_gone_is_named(tmp_path: Path) -> None:
    model, _ = tuned_tiny("gpt2", "causal_lm", LoRA(), tmp_path)
    save_model(model, tiny_tokenizer("gpt2"), tmp_path / "model")
    (tmp_path / "gpt2-causal_lm").rename(tmp_path / "gone")
    with pytest.raises(ModelError, match="gpt2-causal_lm"):
        load_for_prediction(tmp_path / "model")


def _base(model: Any) -> str:
    return str(model.peft_config["default"].base_model_name_or_path)
