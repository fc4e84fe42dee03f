from pathlib import Path
from typing import Any

import pytest
import torch

from foedus.core.errors import ModelError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.models.loading import load_model, load_tokenizer
from foedus.models.sources import Architecture
from foedus.models.travel import count_parameters, travelling
from foedus.models.tuning import Full, LoRA, Tuning, enable_gradient_checkpointing, tune
from foedus.models.tuning import Head as HeadOnly
from foedus.training.task import Task
from tiny_models import FAMILIES, Family, Head, every_parameter, tiny, tiny_folder
from tiny_tasks import CASES, ROWS, load_tiny, tuned_tiny

KEY = SeedKey.from_seed(3)
TUNINGS = (Full(), LoRA(rank=2), LoRA(rank=2, target_modules="all-linear"), HeadOnly())
TUNED_CASES = [
    (family, head, tuning)
    for family, head in CASES
    for tuning in TUNINGS
    if head == "classification" or not isinstance(tuning, HeadOnly)
]


def take_steps(model: Any, task: Task, steps: int = 2) -> None:
    """Take steps of Adam: two, as the first leaves a LoRA factor that multiplies zeros where it is."""
    batch = task.collate(task.encode(ROWS), KEY)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        loss = task.loss(model, batch)
        torch.autograd.backward(loss.total / loss.units)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(("family", "head", "tuning"), TUNED_CASES, ids=str)
def test_training_changes_the_travelling_parameters_and_nothing_else(
    family: Family, head: Head, tuning: Tuning, tmp_path: Path
) -> None:
    model, task = tuned_tiny(family, head, tuning, tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    travel = travelling(model)
    moving = {id(parameter) for parameter in travel.values()}
    start = {name: parameter.detach().clone() for name, parameter in travel.items()}

    take_steps(model, task)

    unused = {name for name, parameter in travel.items() if torch.equal(parameter, start[name])}
    assert unused <= _without_gradient(family, head)
    moved = {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in moving}
    for name, tensor in model.state_dict().items():
        assert name in moved or torch.equal(tensor, before[name]), name


def _without_gradient(family: Family, head: Head) -> set[str]:
    """Return the parameters that a task does not use: they travel unchanged under full tuning."""
    if family == "albert" and head == "masked_lm":
        return {"albert.pooler.weight", "albert.pooler.bias"}
    return set()


@pytest.mark.parametrize("tuning", TUNINGS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_loads_agree_on_names_shapes_and_values(family: Family, tuning: Tuning, tmp_path: Path) -> None:
    one, two = (travelling(tuned_tiny(family, "classification", tuning, tmp_path)[0]) for _ in range(2))
    assert list(one) == list(two)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_names_under_lora_are_those_without_it(family: Family, head: Head, tmp_path: Path) -> None:
    loaded, task = load_tiny(tiny_folder(family, tmp_path, "none" if head == "classification" else head), head)
    plain = set(every_parameter(loaded.model))
    for name in travelling(tune(loaded, LoRA(), task.peft_task_type, KEY)):
        layer, lora, rest = name.partition(".lora_")
        assert f"{layer}.weight" in plain if lora else name in plain
        assert rest in {"", "A.weight", "B.weight"}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_alone_is_what_lora_trains_beside_its_factors(family: Family, tmp_path: Path) -> None:
    head = set(travelling(tuned_tiny(family, "classification", HeadOnly(), tmp_path)[0]))
    lora = set(travelling(tuned_tiny(family, "classification", LoRA(), tmp_path)[0]))
    assert head == {name for name in lora if ".lora_" not in name}


@pytest.mark.parametrize(("family", "head"), CASES)
def test_new_lora_factors_change_nothing(family: Family, head: Head, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path, "none" if head == "classification" else head)
    (plain, task), (loaded, _) = load_tiny(folder, head), load_tiny(folder, head)
    adapted = tune(loaded, LoRA(), task.peft_task_type, KEY)
    batch = task.collate(task.encode(ROWS))
    plain.model.eval()
    adapted.eval()
    with torch.inference_mode():
        torch.testing.assert_close(task.loss(adapted, batch).total, task.loss(plain.model, batch).total)


@pytest.mark.parametrize(
    ("family", "layers"),
    [
        ("bert", {"query", "value"}),
        ("distilbert", {"q_lin", "v_lin"}),
        ("roberta", {"query", "value"}),
        ("albert", {"query", "value"}),
        ("gpt2", {"c_attn"}),
        ("llama", {"q_proj", "v_proj"}),
        ("t5", {"q", "v"}),
        ("bart", {"q_proj", "v_proj"}),
    ],
)
def test_auto_adapts_the_attention_s_query_and_value(family: Family, layers: set[str], tmp_path: Path) -> None:
    names = travelling(tuned_tiny(family, "classification", LoRA(), tmp_path)[0])
    assert {name.split(".")[-3] for name in names if ".lora_" in name} == layers


def test_named_layers_are_adapted_below_the_head_alone(tmp_path: Path) -> None:
    # RoBERTa's head has a layer called dense too, and is trained whole.
    names = travelling(tuned_tiny("roberta", "classification", LoRA(target_modules=("dense",)), tmp_path)[0])
    assert "roberta.encoder.layer.0.output.dense.lora_A.weight" in names
    assert "classifier.dense.weight" in names
    assert "classifier.dense.lora_A.weight" not in names


def test_a_layer_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"called 'qerry'; did you mean 'query'\? .*has: dense, key, query, value"):
        tuned_tiny("bert", "classification", LoRA(target_modules=("qerry",)), tmp_path)


def test_lora_factors_depend_on_the_key_alone(tmp_path: Path) -> None:
    folder = tiny_folder("bert", tmp_path)
    trees = []
    for key in (KEY, KEY, SeedKey.from_seed(4)):
        loaded, task = load_tiny(folder, "classification")
        torch.rand(3)
        trees.append(travelling(tune(loaded, LoRA(), task.peft_task_type, key)))
    name = next(name for name in trees[0] if name.endswith("lora_A.weight"))
    assert torch.equal(trees[0][name], trees[1][name])
    assert not torch.equal(trees[0][name], trees[2][name])


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "albert"])
def test_a_new_masked_language_head_is_trained_beside_the_factors(family: Family, tmp_path: Path) -> None:
    loaded, task = load_tiny(tiny_folder(family, tmp_path), "masked_lm")
    model = tune(loaded, LoRA(), task.peft_task_type, KEY)
    trained = {name for name in travelling(model) if ".lora_" not in name}
    # The bias beside the weight that is tied to the embeddings keeps its zeros.
    assert {name for name in loaded.new_parameters if name not in trained} == {
        name for name in loaded.new_parameters if name.endswith(("predictions.bias", "lm_head.bias", "projector.bias"))
    }


@pytest.mark.parametrize(("family", "head"), [("gpt2", "causal_lm"), ("t5", "sequence_to_sequence")])
def test_a_task_without_a_new_head_has_no_head_to_train(family: Family, head: Head, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="kind: lora or full"):
        tuned_tiny(family, head, HeadOnly(), tmp_path)


@pytest.mark.parametrize("tuning", [LoRA(), HeadOnly()], ids=str)
def test_a_part_of_a_model_from_scratch_is_not_trained_alone(tuning: Tuning, tmp_path: Path) -> None:
    tiny("gpt2", "none")[1].save_pretrained(tmp_path)
    source = Architecture("gpt2", str(tmp_path), {"n_embd": 12, "n_layer": 1, "n_head": 2})
    loaded = load_model(source, load_tokenizer(source), "AutoModelForCausalLM", KEY)
    with pytest.raises(ModelError, match=r"starts from scratch.*kind: full"):
        tune(loaded, tuning, "CAUSAL_LM", KEY)


@pytest.mark.parametrize("tuning", [Full(), LoRA()], ids=str)
@pytest.mark.parametrize(("family", "head"), [case for case in CASES if case[0] != "albert"])
def test_gradient_checkpointing_changes_no_gradient(family: Family, head: Head, tuning: Tuning, tmp_path: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        model, task = tuned_tiny(family, head, tuning, tmp_path)
        model.train()
        if checkpointing:
            enable_gradient_checkpointing(model)
            assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        with torch_seeded(KEY):  # the same dropout
            loss = task.loss(model, task.collate(task.encode(ROWS), KEY))
        torch.autograd.backward(loss.total)
        gradients.append({name: p.grad for name, p in travelling(model).items() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_an_architecture_that_cannot_recompute_its_activations_says_so(tmp_path: Path) -> None:
    model, _ = tuned_tiny("albert", "classification", Full(), tmp_path)
    with pytest.raises(ModelError, match=r"cannot set local.gradient_checkpointing: true with a albert model"):
        enable_gradient_checkpointing(model)


def test_adapters_count_and_the_head_s_spare_copy_does_not(tmp_path: Path) -> None:
    model, _ = tuned_tiny("bert", "classification", LoRA(rank=2), tmp_path)
    full, _ = tuned_tiny("bert", "classification", Full(), tmp_path)
    factors = sum(p.numel() for name, p in travelling(model).items() if ".lora_" in name)
    assert factors == 2 * 2 * 2 * (16 + 16)  # layers, query and value, rank, both sides of each
    assert count_parameters(model).total == count_parameters(full).total + factors
    pooler, classifier = 16 * 16 + 16, 16 * 3 + 3
    assert count_parameters(model).sent == factors + pooler + classifier
