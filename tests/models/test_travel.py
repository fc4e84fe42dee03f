from pathlib import Path

import pytest
import torch
from torch import nn

from foedus.core.errors import ModelError
from foedus.models.travel import ParameterCounts, count_parameters, travelling
from foedus.models.tuning import Full, LoRA
from tiny_models import Family, Head, tiny
from tiny_tasks import CASES, tuned_tiny


@pytest.mark.parametrize(("family", "head"), CASES)
def test_everything_travels_once_under_full_tuning(family: Family, head: Head) -> None:
    model, _ = tiny(family, head)
    travel = travelling(model)
    assert {id(p) for p in travel.values()} == {id(p) for p in model.parameters()}
    assert len({id(p) for p in travel.values()}) == len(travel)
    assert count_parameters(model) == ParameterCounts(*(3 * [sum(p.numel() for p in travel.values())]))


@pytest.mark.parametrize(
    ("family", "head", "tied"),
    [
        ("gpt2", "causal_lm", ["transformer.wte.weight", "lm_head.weight"]),
        ("llama", "causal_lm", ["model.embed_tokens.weight", "lm_head.weight"]),
        ("bert", "masked_lm", ["bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"]),
        ("t5", "sequence_to_sequence", ["shared.weight", "encoder.embed_tokens.weight", "lm_head.weight"]),
        ("bart", "sequence_to_sequence", ["model.shared.weight", "lm_head.weight"]),
    ],
)
def test_tied_weights_travel_once(family: Family, head: Head, tied: list[str]) -> None:
    model, _ = tiny(family, head)
    assert len({id(model.get_parameter(name)) for name in tied}) == 1
    assert len([name for name in tied if name in travelling(model)]) == 1


def test_writing_into_the_travelling_parameters_changes_the_model(tmp_path: Path) -> None:
    model, task = tuned_tiny("bert", "classification", LoRA(), tmp_path)
    del task
    for parameter in travelling(model).values():
        nn.init.constant_(parameter, 0.25)
    assert all(torch.all(p == 0.25) for p in model.parameters() if p.requires_grad)


def test_a_model_with_running_statistics_is_refused(tmp_path: Path) -> None:
    model, _ = tuned_tiny("bert", "classification", Full(), tmp_path)
    model.classifier = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 3))
    with pytest.raises(ModelError, match=r"classifier\.0 \(BatchNorm1d\) keeps running statistics"):
        travelling(model)


def test_a_frozen_model_is_refused() -> None:
    model, _ = tiny("bert", "classification")
    model.requires_grad_(False)
    with pytest.raises(ModelError, match="every parameter of BertForSequenceClassification is frozen"):
        travelling(model)
