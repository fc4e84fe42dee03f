from __future__ import annotations

import pytest

from foedus.models.hidden import hidden_matrices
from foedus.models.travel import travelling
from tiny_models import Family, Head, tiny
from tiny_tasks import CASES

# What Muon must not get, by family and head, beside all that has not two axes.
OUTER: dict[tuple[Family, Head], set[str]] = {
    ("bert", "classification"): {"classifier.weight"},
    ("distilbert", "classification"): {"classifier.weight"},
    ("roberta", "classification"): {"classifier.out_proj.weight"},
    ("albert", "classification"): {"classifier.weight"},
    ("gpt2", "classification"): {"score.weight"},
    ("llama", "classification"): {"score.weight"},
    ("t5", "classification"): {"classification_head.out_proj.weight"},
    ("bart", "classification"): {"classification_head.out_proj.weight"},
}


def is_embedding(name: str) -> bool:
    words = ("embeddings", "wte", "wpe", "embed_tokens", "embed_positions", "shared", "relative_attention_bias")
    return any(word in name for word in words)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_muon_gets_every_matrix_but_embeddings_and_the_last_layer(family: Family, head: Head) -> None:
    model, _ = tiny(family, head)
    matrices = {name for name, parameter in travelling(model).items() if parameter.ndim == 2}
    expected = {name for name in matrices if not is_embedding(name)} - OUTER.get((family, head), set())
    assert hidden_matrices(model) == expected
    assert OUTER.get((family, head), set()) <= matrices
    assert len(expected) >= 6


@pytest.mark.parametrize("tied", [True, False])
def test_a_vocabulary_is_not_hidden_whether_it_is_tied_or_not(tied: bool) -> None:
    model, _ = tiny("llama", "causal_lm", tie_word_embeddings=tied)
    hidden = hidden_matrices(model)
    assert not hidden & {"lm_head.weight", "model.embed_tokens.weight"}
    assert "model.layers.0.mlp.up_proj.weight" in hidden


def test_learned_positions_are_not_hidden() -> None:
    model, _ = tiny("gpt2", "causal_lm")
    assert not hidden_matrices(model) & {"transformer.wpe.weight", "transformer.wte.weight"}
    assert "transformer.h.0.attn.c_attn.weight" in hidden_matrices(model)
