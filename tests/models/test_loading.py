from pathlib import Path
from typing import Any

import pytest
import torch

from foedus.core.errors import ModelError
from foedus.core.seeds import SeedKey
from foedus.models.loading import load_model, load_tokenizer, require_length, token_limit
from foedus.models.sources import Architecture, Checkpoint, ModelSource
from tiny_models import ENCODERS, FAMILIES, LABELS, Family, every_parameter, tiny, tiny_folder, tiny_tokenizer
from tiny_tasks import load_tiny

CLASSIFIER = "AutoModelForSequenceClassification"
KEY = SeedKey.from_seed(0)


def load(source: ModelSource, auto_class: str, labels: tuple[str, ...] = ()) -> Any:
    return load_model(source, load_tokenizer(source), auto_class, KEY, labels).model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_holds_the_checkpoint_and_a_new_head(family: Family, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path)
    loaded, _ = load_tiny(folder, "classification")
    base, _ = tiny(family, "none")

    here = every_parameter(loaded.model)
    new = set(loaded.new_parameters)
    for name, parameter in every_parameter(base).items():
        mine = [other for full, other in here.items() if full.endswith(name) and full not in new]
        assert (not mine and "pooler" in name) or torch.equal(mine[0], parameter)
    assert new
    assert sum(here[name].shape[0] == len(LABELS) for name in new) >= 1
    assert loaded.base_reference == str(folder)


def test_labels_stand_in_the_configuration(tmp_path: Path) -> None:
    loaded, _ = load_tiny(tiny_folder("bert", tmp_path), "classification")
    config: Any = loaded.model.config
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: number for number, label in enumerate(LABELS)}


def test_a_new_head_depends_on_the_key_alone(tmp_path: Path) -> None:
    folder = tiny_folder("bert", tmp_path)
    weights = []
    for seed in (0, 0, 1):
        torch.rand(seed + 1)  # whatever was drawn before
        weights.append(load_tiny(folder, "classification", seed)[0].model.get_parameter("classifier.weight"))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    folder = tiny_folder("bert", tmp_path)
    before = torch.get_rng_state()
    load_tiny(folder, "classification")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_head_for_other_labels_is_replaced(tmp_path: Path) -> None:
    folder = tiny_folder("bert", tmp_path, "classification")
    model, tokenizer = load(Checkpoint(str(folder)), CLASSIFIER, ("a", "b")), load_tokenizer(Checkpoint(str(folder)))
    loaded = load_model(Checkpoint(str(folder)), tokenizer, CLASSIFIER, KEY, ("a", "b"))
    assert loaded.new_parameters == ("classifier.bias", "classifier.weight")
    assert model.get_parameter("classifier.weight").shape[0] == 2


def test_a_head_for_as_many_labels_is_kept(tmp_path: Path) -> None:
    loaded, _ = load_tiny(tiny_folder("bert", tmp_path, "classification"), "classification")
    assert loaded.new_parameters == ()


def test_loading_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder("bert", tmp_path)
    capfd.readouterr()
    load_tiny(folder, "classification")
    assert capfd.readouterr() == ("", "")


def test_weights_that_the_task_does_not_use_are_noted(tmp_path: Path) -> None:
    loaded, _ = load_tiny(tiny_folder("bert", tmp_path), "masked_lm")
    assert any("pooler.dense.weight" in note for note in loaded.notes)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_tokenizer_without_padding_pads_with_the_end_of_text(family: Family, tmp_path: Path) -> None:
    loaded, _ = load_tiny(tiny_folder(family, tmp_path), "classification")
    config: Any = loaded.model.config
    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token
    assert config.pad_token_id == loaded.tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("family", "limit"), [("bert", 64), ("roberta", 64), ("gpt2", 64), ("llama", 64), ("bart", 64), ("t5", None)]
)
def test_the_token_limit_is_what_the_model_can_read(family: Family, limit: int | None) -> None:
    model, _ = tiny(family, "none")
    assert token_limit(model) == limit
    if limit is not None and family != "llama":  # rotary positions have no table that could end
        with torch.inference_mode():
            model(torch.full((1, limit), 5))
            with pytest.raises((IndexError, RuntimeError)):
                model(torch.full((1, limit + 1), 5))


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "bart"])
def test_more_tokens_than_positions_are_refused(family: Family) -> None:
    model, _ = tiny(family, "none")
    require_length(model, 64)
    with pytest.raises(ModelError, match=r"at most 64 tokens, but .* is 65"):
        require_length(model, 65)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_positions_without_a_table_have_no_end(family: Family) -> None:
    require_length(tiny(family, "none")[0], 10_000)


# A model from scratch


@pytest.mark.parametrize("family", FAMILIES)
def test_an_architecture_is_built_around_its_tokenizer(family: Family, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(family)
    tokenizer.save_pretrained(tmp_path)
    sizes = {"t5": {"d_model": 16, "num_layers": 1}, "bart": {"d_model": 16}, "distilbert": {"dim": 12}}
    overrides = sizes.get(family, {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2})
    source = Architecture(family, str(tmp_path), overrides)
    loaded = load_model(source, load_tokenizer(source), CLASSIFIER, KEY, LABELS)

    model: Any = loaded.model
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert model.config.eos_token_id in {tokenizer.eos_token_id, tokenizer.sep_token_id}
    assert loaded.base_reference is None
    assert set(loaded.new_parameters) == set(every_parameter(model))


def test_the_same_seed_builds_the_same_model(tmp_path: Path) -> None:
    tiny_tokenizer("gpt2").save_pretrained(tmp_path)
    source = Architecture("gpt2", str(tmp_path), {"n_embd": 12, "n_layer": 1, "n_head": 2})
    one, two = (load(source, "AutoModelForCausalLM") for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


# What cannot be loaded


def test_an_unknown_architecture_is_refused_with_the_nearest(tmp_path: Path) -> None:
    tiny_tokenizer("gpt2").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"unknown architecture 'gpt-2'; did you mean 'gpt2'\?"):
        load(Architecture("gpt-2", str(tmp_path)), CLASSIFIER)


def test_an_unknown_field_is_refused_with_the_nearest(tmp_path: Path) -> None:
    tiny_tokenizer("gpt2").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no field 'n_layers'; did you mean 'n_layer'\?"):
        load(Architecture("gpt2", str(tmp_path), {"n_layers": 2}), CLASSIFIER)


@pytest.mark.parametrize("overrides", [{"hidden_size": "large"}, {"hidden_size": 25}])
def test_a_field_of_a_wrong_value_is_refused(overrides: dict[str, object], tmp_path: Path) -> None:
    tiny_tokenizer("bert").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="bert model"):
        load(Architecture("bert", str(tmp_path), overrides), CLASSIFIER)


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny_tokenizer("gpt2").save_pretrained(tmp_path)
    overrides = {"vocab_size": 10, "n_embd": 12, "n_layer": 1}
    with pytest.raises(ModelError, match="262 tokens, but the model 'gpt2' has embeddings for 10"):
        load(Architecture("gpt2", str(tmp_path), overrides), "AutoModelForCausalLM")


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_model_that_sees_what_comes_next_cannot_learn_to_predict_it(family: Family, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path, "masked_lm")
    with pytest.raises(ModelError, match=r"both directions.*masked_lm"):
        load(Checkpoint(str(folder)), "AutoModelForCausalLM")


@pytest.mark.parametrize("family", [*ENCODERS, "gpt2"])
def test_a_model_without_the_task_s_head_is_refused(family: Family, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path)
    with pytest.raises(ModelError, match=r"cannot be used for this task.*t5 and bart suit sequence_to_sequence"):
        load(Checkpoint(str(folder)), "AutoModelForSeq2SeqLM")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = tiny_folder("bert", tmp_path)
    larger = tiny_folder("bert", tmp_path / "larger", num_hidden_layers=3)
    (larger / "config.json").replace(folder / "config.json")
    with pytest.raises(ModelError, match=r"do not hold what its config.json describes.*layer\.2\."):
        load(Checkpoint(str(folder)), CLASSIFIER, LABELS)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_folder("bert", tmp_path)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="cannot load the model"):
        load(Checkpoint(str(folder)), CLASSIFIER, LABELS)


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    model, _ = tiny("bert", "none")
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot load the tokenizer of"):
        load_tokenizer(Checkpoint(str(tmp_path)))


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    tiny("gpt2", "none")[0].save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="neither a padding nor an end-of-text token"):
        load_tokenizer(Checkpoint(str(tmp_path)))


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "albert"])
def test_without_dropout_training_mode_computes_what_evaluation_does(family: Family, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path, "classification")
    ids = torch.tensor([[5, 6, 7, 8]])

    def differs(dropout: float) -> bool:
        model = load(Checkpoint(str(folder), dropout=dropout), CLASSIFIER, LABELS)
        model.config.pad_token_id = 0
        return not torch.equal(model.train()(ids).logits, model.eval()(ids).logits)

    assert differs(0.5)
    assert not differs(0.0)
