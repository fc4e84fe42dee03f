"""What a trained model makes of new texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from foedus.core.errors import DataError
from foedus.models.loading import token_limit
from foedus.tasks.encoding import pad, padding_mask
from foedus.tasks.model_calls import compute_logits, generate_greedily

Text = str | tuple[str, str]  # a pair for models trained on pairs
Prediction = Mapping[str, Any]  # JSON values

_TEXTS_AT_ONCE = 16
_NO_LIMIT = 1_000_000  # tokens; a tokenizer that has no limit says 10^30, which tokenizers themselves reject

_T = TypeVar("_T")


def predict(
    task_kind: str,
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[Text],
    *,
    top_k: int = 1,
    max_new_tokens: int = 40,
    max_length: int | None = None,
    prefix: str = "",
) -> list[Prediction]:
    """Return for each text, in order, what the model makes of it; the same every time.

    text_classification: {"label", "probability", "ranking": the top_k as [{"label", "probability"}, …]}.
    causal_lm: {"text"}: the continuation alone. sequence_to_sequence: {"text"}.
    masked_lm: {"text": with its gaps filled, "gaps": for each, the top_k as [{"token", "probability"}, …]}.
    max_length: tokens of a text that are read; None is what the model can hold. prefix: put before every source text.
    """
    limit = _smallest(max_length, token_limit(model), tokenizer.model_max_length)
    match task_kind:
        case "text_classification":
            return classify(model, tokenizer, texts, limit, top_k)
        case "causal_lm":
            return continue_texts(model, tokenizer, texts, limit, max_new_tokens)
        case "sequence_to_sequence":
            return rewrite(model, tokenizer, [f"{prefix}{text}" for text in texts], limit, max_new_tokens)
        case "masked_lm":
            return fill_gaps(model, tokenizer, texts, limit, top_k)
        case _:
            raise ValueError(f"no prediction is known for the task '{task_kind}'")


@torch.inference_mode()
def classify(model: nn.Module, tokenizer: Any, texts: Sequence[Text], limit: int, top_k: int = 1) -> list[Prediction]:
    """Return the likeliest labels of each text with their probabilities."""
    config: Any = model.config
    predictions: list[Prediction] = []
    for chunk in _chunks(texts):
        encoded = tokenizer(
            [text if isinstance(text, str) else text[0] for text in chunk],
            [text[1] for text in chunk] if isinstance(chunk[0], tuple) else None,
            truncation=True,
            max_length=limit,
        )
        rows = [torch.tensor(ids or [_stand_in(tokenizer)]) for ids in encoded["input_ids"]]
        batch = _padded(rows, tokenizer, model)
        if isinstance(chunk[0], tuple) and "token_type_ids" in encoded:
            types = [torch.tensor(row) for row in encoded["token_type_ids"]]
            batch["token_type_ids"] = pad(types, 0).to(batch["input_ids"].device)
        probabilities = compute_logits(model, batch).float().softmax(-1)
        for values, numbers in zip(*(part.tolist() for part in _top(probabilities, top_k)), strict=True):
            ranking = [
                {"label": config.id2label[number], "probability": value}
                for number, value in zip(numbers, values, strict=True)
            ]
            predictions.append({**ranking[0], "ranking": ranking})
    return predictions


@torch.inference_mode()
def continue_texts(
    model: nn.Module, tokenizer: Any, texts: Sequence[Text], limit: int, max_new_tokens: int
) -> list[Prediction]:
    """Return how each text goes on; of a text that is too long, its end is read."""
    predictions: list[Prediction] = []
    for chunk in _chunks(texts):
        encoded = tokenizer(list(chunk), verbose=False)["input_ids"]
        room = max(1, limit - max_new_tokens)
        rows = [torch.tensor(ids[-room:] or [_stand_in(tokenizer)]) for ids in encoded]
        # A decoder writes behind the last token, so padding goes to the left.
        batch = {
            name: value.flip(-1) for name, value in _padded([row.flip(-1) for row in rows], tokenizer, model).items()
        }
        written = generate_greedily(model, **batch, max_new_tokens=max_new_tokens)
        predictions += _as_texts(tokenizer, written[:, batch["input_ids"].shape[1] :])
    return predictions


@torch.inference_mode()
def rewrite(
    model: nn.Module, tokenizer: Any, texts: Sequence[str], limit: int, max_new_tokens: int
) -> list[Prediction]:
    """Return what an encoder and decoder write from each text."""
    predictions: list[Prediction] = []
    for chunk in _chunks(texts):
        encoded = tokenizer(list(chunk), truncation=True, max_length=limit)["input_ids"]
        batch = _padded([torch.tensor(ids or [_stand_in(tokenizer)]) for ids in encoded], tokenizer, model)
        predictions += _as_texts(tokenizer, generate_greedily(model, **batch, max_new_tokens=max_new_tokens))
    return predictions


@torch.inference_mode()
def fill_gaps(model: nn.Module, tokenizer: Any, texts: Sequence[Text], limit: int, top_k: int = 1) -> list[Prediction]:
    """Return each text with its gaps filled; a gap is the tokenizer's mask token.

    Raises: DataError if a text has no gap.
    """
    predictions: list[Prediction] = []
    for chunk in _chunks(texts):
        encoded = tokenizer(list(chunk), truncation=True, max_length=limit)["input_ids"]
        rows = [torch.tensor(ids) for ids in encoded]
        batch = _padded(rows, tokenizer, model)
        values, numbers = _top(compute_logits(model, batch).float().softmax(-1), top_k)
        for index, row in enumerate(rows):
            places = (row == tokenizer.mask_token_id).nonzero().flatten().tolist()
            if not places:
                number = len(predictions) + 1
                raise DataError(f"text {number} has no gap: write {tokenizer.mask_token} where a word is missing")
            filled = row.clone()
            filled[places] = numbers[index, places, 0].cpu()
            gaps = [
                [
                    {"token": tokenizer.decode([number]).strip(), "probability": value}
                    for number, value in zip(numbers[index, place].tolist(), values[index, place].tolist(), strict=True)
                ]
                for place in places
            ]
            predictions.append({"text": tokenizer.decode(filled, skip_special_tokens=True), "gaps": gaps})
    return predictions


def _chunks(texts: Sequence[_T]) -> list[Sequence[_T]]:
    return [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]


def _padded(rows: Sequence[Tensor], tokenizer: Any, model: nn.Module) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    return {
        "input_ids": pad(rows, tokenizer.pad_token_id).to(device),
        "attention_mask": padding_mask(rows).to(device),
    }


def _top(probabilities: Tensor, count: int) -> tuple[Tensor, Tensor]:
    top = probabilities.topk(min(count, probabilities.shape[-1]))
    return top.values, top.indices


def _as_texts(tokenizer: Any, tokens: Tensor) -> list[Prediction]:
    return [{"text": text} for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def _stand_in(tokenizer: Any) -> int:
    """Return the token that stands for a text without any, as in training."""
    return int(tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id)


def _smallest(*limits: int | None) -> int:
    return min(_NO_LIMIT, *(limit for limit in limits if limit is not None))
