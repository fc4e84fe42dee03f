"""Texts that a causal language model writes: drawn from its own probabilities, reproducible by a seed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.models.foreign_calls import quiet_transformers
from foedus.models.loading import token_limit

_NO_LIMIT = 1_000_000  # tokens that are read at once, for a model whose configuration states no limit


@torch.inference_mode()
def write_texts(
    model: nn.Module,
    tokenizer: Any,
    prompt: str,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    key: SeedKey,
) -> list[str]:
    """Return how the prompt goes on, so many times; a text ends where the model ends it.

    prompt: empty for texts from nothing: they begin with the tokenizer's begin token, or else its end token, as the
        next document does in packed training.
    temperature: 1 draws from the model's own probabilities, less from likelier tokens; 0 always takes the likeliest.
    key: one text's randomness does not depend on how many others there are.
    A text longer than the model's context goes on from the second half of what it can see.
    Raises: ConfigError if the temperature is negative, or there is nothing to begin with.
    """
    if temperature < 0:
        raise ConfigError(f"the temperature is {temperature:g}; use 0 or more")
    start = _start(tokenizer, prompt)
    return [
        tokenizer.decode(
            _go_on(model, tokenizer, start, max_new_tokens, temperature, key=key.child(sample)),
            skip_special_tokens=True,
        )
        for sample in range(samples)
    ]


def _start(tokenizer: Any, prompt: str) -> list[int]:
    """Return the prompt's tokens, open at the end."""
    tokens: list[int] = list(tokenizer(prompt, verbose=False)["input_ids"])
    while tokens[-1:] == [tokenizer.eos_token_id] and tokenizer.eos_token_id != tokenizer.bos_token_id:
        tokens = tokens[:-1]
    if tokens:
        return tokens
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if first is None:
        raise ConfigError("the model's tokenizer has no begin or end token to write from; give a prompt")
    return [int(first)]


def _go_on(
    model: Any, tokenizer: Any, start: list[int], max_new_tokens: int, temperature: float, *, key: SeedKey
) -> list[int]:
    """Return the new tokens."""
    limit = token_limit(model) or _NO_LIMIT
    device = next(model.parameters()).device
    written: list[int] = []
    with torch_seeded(key, device), quiet_transformers():
        while len(written) < max_new_tokens:
            seen = [*start, *written]
            if len(seen) >= limit:
                seen = seen[-max(1, limit // 2) :]
            read = torch.tensor([seen], device=device)
            room = min(limit - len(seen), max_new_tokens - len(written))
            output: Tensor = model.generate(
                input_ids=read,
                attention_mask=torch.ones_like(read),
                max_new_tokens=room,
                do_sample=temperature > 0,
                **({"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}),
                num_beams=1,
            )
            fresh = output[0, len(seen) :].tolist()
            written += fresh
            if len(fresh) < room or tokenizer.eos_token_id in fresh:
                break
    return written
