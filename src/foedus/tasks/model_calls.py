"""Calls of a Transformer, whatever its architecture and whatever PEFT wraps around it."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from torch import Tensor, nn

from foedus.models.foreign_calls import quiet_transformers
from foedus.training.task import Batch

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids")


def compute_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return the model's logits for those of the batch's inputs that its architecture reads.

    Labels are never given to the model: its built-in loss is a mean over the batch, which cannot be
    added up, and would be computed for nothing.
    """
    transformer: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]  # PEFT
    accepted = _inputs_of(transformer.__class__)
    inputs: dict[str, Any] = {name: batch[name] for name in _INPUTS if name in batch and name in accepted}
    if getattr(transformer.config, "type_vocab_size", 0) < 2:
        inputs.pop("token_type_ids", None)  # GPT-2 would add the embedding of token 1
    if "use_cache" in accepted:
        inputs["use_cache"] = False  # keys and values kept for generation would only cost memory
    logits: Tensor = model(**inputs).logits
    return logits


@cache
def _inputs_of(architecture: Any) -> frozenset[str]:
    return frozenset(inspect.signature(architecture.forward).parameters)


def generate_greedily(model: nn.Module, input_ids: Tensor, attention_mask: Tensor, max_new_tokens: int) -> Tensor:
    """Return the tokens that the model writes, always taking the likeliest; a decoder's begin with its prompt."""
    generator: Any = model
    with quiet_transformers():
        written: Tensor = generator.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
        )
    return written
