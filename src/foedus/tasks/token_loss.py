"""Arithmetic of language models: losses and statistics summed over predicted tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor

from foedus.federation.messages import Sums
from foedus.training.task import Loss

IGNORED = -100  # a target that is not predicted: padding, or a token that was not masked


def token_loss(logits: Tensor, targets: Tensor) -> Loss:
    """Return the cross-entropy summed over the targets that are not IGNORED, in float32.

    logits: Shape (..., vocabulary). targets: Shape (...), each for the logits at its place.
    """
    total = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), targets.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    return Loss(total, units=float((targets != IGNORED).sum()))


def sparse_token_loss(logits: Tensor, targets: Tensor) -> Loss:
    """Return what token_loss does, computed on the predicted tokens alone: for when they are few."""
    predicted = targets != IGNORED
    return token_loss(logits[predicted], targets[predicted])


def record_token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each record's mean cross-entropy over its own targets that are not IGNORED, in float32; 0 with none.

    logits: Shape (records, tokens, vocabulary). targets: Shape (records, tokens). Returns: Shape (records,).
    """
    losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(targets.shape).sum(1) / _predicted_tokens(targets)


def sparse_record_token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return what record_token_losses does, computed on the predicted tokens alone: for when they are few."""
    predicted = targets != IGNORED
    losses = F.cross_entropy(logits[predicted].float(), targets[predicted], reduction="none")
    sums = losses.new_zeros(len(targets)).index_add(0, predicted.nonzero()[:, 0], losses)
    return sums / _predicted_tokens(targets)


def _predicted_tokens(targets: Tensor) -> Tensor:
    """Return how many targets each record has, at least 1."""
    return (targets != IGNORED).sum(1).clamp(min=1)


def token_tally(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the summed loss, and how many tokens were predicted, and rightly so."""
    predicted = targets != IGNORED
    logits, targets = logits[predicted], targets[predicted]
    loss = token_loss(logits, targets)
    return {
        "loss": loss.total.cpu().double(),
        "tokens": torch.tensor(loss.units, dtype=torch.float64),
        "correct": (logits.argmax(-1) == targets).sum().cpu().double(),
    }


def token_score(sums: Sums) -> Mapping[str, float]:
    """Return perplexity, mean loss in nats a token, and accuracy; nothing if no token was predicted.

    >>> token_score({"loss": torch.tensor(0.0), "tokens": torch.tensor(4.0), "correct": torch.tensor(3.0)})
    {'perplexity': 1.0, 'loss': 0.0, 'token_accuracy': 0.75}
    """
    if "tokens" not in sums or (tokens := float(sums["tokens"])) == 0:
        return {}
    loss = float(sums["loss"]) / tokens
    return {
        "perplexity": math.exp(min(loss, 700.0)),  # beyond, it is no float any more
        "loss": loss,
        "token_accuracy": float(sums["correct"]) / tokens,
    }
