"""Tiny random Transformers of every family, with tokenizers made here: no download, milliseconds a step."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any, Literal

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import AutoConfig, PreTrainedTokenizerFast

from foedus.core.seeds import SeedKey, torch_seeded
from foedus.models.foreign_calls import quiet_transformers

Family = Literal["bert", "distilbert", "roberta", "albert", "gpt2", "llama", "t5", "bart"]
Head = Literal["none", "classification", "causal_lm", "masked_lm", "sequence_to_sequence"]

FAMILIES: tuple[Family, ...] = ("bert", "distilbert", "roberta", "albert", "gpt2", "llama", "t5", "bart")
ENCODERS: tuple[Family, ...] = ("bert", "distilbert", "roberta", "albert")
DECODERS: tuple[Family, ...] = ("gpt2", "llama")
ENCODER_DECODERS: tuple[Family, ...] = ("t5", "bart")
LABELS = ("heart", "lung", "skin")

_AUTO_CLASSES: dict[Head, str] = {
    "none": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "sequence_to_sequence": "AutoModelForSeq2SeqLM",
}
_SHAPES: dict[Family, dict[str, Any]] = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "roberta": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "albert": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "embedding_size": 8,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
        "tie_word_embeddings": True,
    },
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
    "bart": {
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
    },
}
_MAX_POSITIONS = 64


def tiny(family: Family, head: Head, seed: int = 0, **overrides: Any) -> tuple[Any, Any]:
    """Return a random model of 2 layers and width 16, and its tokenizer.

    A classifier has LABELS. overrides: fields of the configuration.
    """
    tokenizer = tiny_tokenizer(family)
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    fields = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": _MAX_POSITIONS + (tokenizer.pad_token_id + 1 if family == "roberta" else 0),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **({"decoder_start_token_id": _decoder_start(family, tokenizer)} if family in ENCODER_DECODERS else {}),
        **({"forced_eos_token_id": tokenizer.eos_token_id} if family == "bart" else {}),
        **(labels if head == "classification" else {}),
        **_SHAPES[family],
    }
    if family == "t5":
        del fields["max_position_embeddings"]
    config = AutoConfig.for_model(family, **fields | overrides)
    with torch_seeded(SeedKey.from_seed(seed)):
        model = getattr(transformers, _AUTO_CLASSES[head]).from_config(config)
    return model, tokenizer


def tiny_folder(family: Family, folder: Path, head: Head = "none", seed: int = 0, **overrides: Any) -> Path:
    """Write a tiny checkpoint with its tokenizer, and return its folder."""
    model, tokenizer = tiny(family, head, seed, **overrides)
    target = folder / f"{family}-{head}"
    with quiet_transformers():
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    return target


def tiny_tokenizer(family: Family) -> Any:
    """Return a tokenizer of the family's kind: WordPiece over letters for BERT and its kin, else bytes."""
    return _letters() if family in {"bert", "distilbert", "albert"} else _bytes(family)


def every_parameter(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return all parameters by their raw names, tied ones once."""
    return dict(model.named_parameters())


def _decoder_start(family: Family, tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id if family == "t5" else tokenizer.eos_token_id)


def _letters() -> Any:
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words = ["the", "pain", "in", "chest", "skin", "lung", "of", "and", "left", "right"]
    vocabulary = [*special.values(), *words, *letters, *(f"##{letter}" for letter in letters)]
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, **{"unk_token": "[UNK]"}))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _bytes(family: Family) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<mask>"]
    ids = {token: number for number, token in enumerate([*special, *alphabet, "Ġt", "Ġth"])}
    tokenizer = Tokenizer(models.BPE(ids, merges=[("Ġ", "t"), ("Ġt", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    start, end = ("<s>", ids["<s>"]), ("</s>", ids["</s>"])
    if family in {"roberta", "bart"}:
        tokenizer.post_processor = processors.RobertaProcessing(end, start, add_prefix_space=False, trim_offsets=False)
    elif family == "t5":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[end]
        )
    elif family == "llama":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[start]
        )
    options = {"bos_token": "<s>", "eos_token": "</s>"}
    if family in {"roberta", "bart"}:
        options |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>", "pad_token": "<pad>"}
    elif family == "t5":
        options |= {"pad_token": "<pad>"}
    # Like the real ones, those of GPT-2 and Llama have no padding token.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **options
    )
