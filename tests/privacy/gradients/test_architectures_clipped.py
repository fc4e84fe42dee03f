"""Architectures beyond the project's families: each gives the sums of one record at a time, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
import transformers
from torch import Tensor
from transformers import AutoConfig

from foedus.core.errors import ModelError
from foedus.privacy.gradients.clipped_sums import ClippedSums
from privacy.gradients.one_by_one import clipped_sum, distance, gradients_within, stirred

RECORDS, TOKENS, VOCABULARY = 5, 9, 40
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
LLAMA = {"num_key_value_heads": 1}
GEMMA = {"num_key_value_heads": 1, "head_dim": 8}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}

BART: dict[str, Any] = {"d_model": 16, "decoder_start_token_id": 0} | {
    f"{half}_{size}": value
    for half in ("encoder", "decoder")
    for size, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
}


def model_of(kind: str, task: str, **sizes: Any) -> Any:
    config = AutoConfig.for_model(kind, **(SIZES | sizes))
    return getattr(transformers, f"AutoModelFor{task}").from_config(config).eval().double()


def losses_of(model: Any) -> Tensor:
    ids = torch.randint(1, VOCABULARY, (RECORDS, TOKENS), generator=torch.Generator().manual_seed(0))
    extra = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits
    if logits.ndim == 2:
        return F.cross_entropy(logits, ids[:, 0] % 2, reduction="none")
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view(ids.shape).mean(1)


@pytest.mark.parametrize(
    ("kind", "task", "sizes"),
    [
        ("llama", "CausalLM", LLAMA | {"tie_word_embeddings": False}),
        ("qwen2", "CausalLM", LLAMA | {"tie_word_embeddings": True}),
        ("gpt_neox", "CausalLM", {}),
        ("bloom", "CausalLM", {"n_layer": 2, "n_head": 2}),
        ("electra", "SequenceClassification", {"embedding_size": 8}),
        ("modernbert", "SequenceClassification", {}),
        ("mt5", "Seq2SeqLM", T5),
        ("mbart", "Seq2SeqLM", BART),
    ],
)
def test_an_architecture_gives_the_sums_of_one_record_at_a_time(kind: str, task: str, sizes: dict[str, Any]) -> None:
    model = model_of(kind, task, **sizes)
    parameters = stirred(model)
    gradients = gradients_within(losses_of(model), parameters)
    sums = ClippedSums(model, parameters, clip_norm=0.5)
    sums.add(lambda: losses_of(model), RECORDS)
    assert distance(sums.take(), clipped_sum(gradients, 0.5)) < 1e-10


@pytest.mark.parametrize(
    ("kind", "task", "sizes", "reason"),
    [
        ("mixtral", "CausalLM", LLAMA, "experts"),
        (
            "mpnet",
            "SequenceClassification",
            {},
            r"mpnet.encoder.relative_attention_bias.weight is shared by all records",
        ),
        ("convbert", "SequenceClassification", {}, r"key_conv_attn_layer.bias belongs to a SeparableConv1D"),
        ("deberta", "SequenceClassification", {"relative_attention": True}, "self.q_bias belongs to a Disentangled"),
    ],
)
def test_an_architecture_is_refused_before_it_computes(
    kind: str, task: str, sizes: dict[str, Any], reason: str
) -> None:
    model = model_of(kind, task, **sizes)
    with pytest.raises(ModelError, match=reason):
        ClippedSums(model, dict(model.named_parameters()), clip_norm=1.0)


@pytest.mark.parametrize(
    ("kind", "task", "sizes", "reason"),
    [
        ("gemma", "CausalLM", GEMMA, "input_layernorm.weight is used outside a layer"),
        ("deberta-v2", "SequenceClassification", {"relative_attention": True}, "rel_embeddings.weight is used outside"),
        ("pegasus", "Seq2SeqLM", BART, r"embed_positions.weight is looked up with \(9,\) ids for 5 records"),
        ("longt5", "Seq2SeqLM", T5, "relative_attention_bias.weight gives a bias of shape"),
    ],
)
def test_an_architecture_is_refused_when_a_use_hides_whose_gradient_is_whose(
    kind: str, task: str, sizes: dict[str, Any], reason: str
) -> None:
    model = model_of(kind, task, **sizes)
    sums = ClippedSums(model, dict(model.named_parameters()), clip_norm=1.0)
    with pytest.raises(ModelError, match=reason):
        sums.add(lambda: losses_of(model), RECORDS)
    assert not any(total.any() for total in sums.take().values())
