"""Training as one would write it without any federation, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.training.batches import logical_batches, steps_per_round
from foedus.training.settings import LocalSettings, learning_rate_at
from foedus.training.site_task import SiteTask


def plain_optimizer(model: nn.Module, settings: LocalSettings) -> torch.optim.Optimizer:
    """Return PyTorch's optimizer, with the usual groups for weight decay."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True)


def plain_batches(site: SiteTask, round_number: int) -> list[Sequence[Sequence[int]]]:
    """Return the logical batches that a participant trains on in a round."""
    rows, s = site.splits["train"], site.settings
    steps = steps_per_round(len(rows), s.batch_size, s.accumulation, s.epochs, s.steps)
    key = site.key.child("round", round_number, "batches")
    lengths = [site.task.length(row) for row in rows]
    return list(logical_batches(lengths, s.batch_size, s.accumulation, steps, key, group_by_length=s.group_by_length))


def train_plainly(model: nn.Module, site: SiteTask, rounds: int, total_rounds: int | None = None) -> ParamTree:
    """Train the model on the participant's batches of so many rounds without a pause; return its parameters.

    Each step descends the mean loss over all units of its batch. There must be no accumulation.
    """
    settings, rows = site.settings, site.splits["train"]
    optimizer = plain_optimizer(model, settings)
    batches = [batch for number in range(rounds) for batch in plain_batches(site, number)]
    total = len(batches) * (total_rounds or rounds) // rounds
    model.train()
    for step, (indices,) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(settings, step / total)
        optimizer.zero_grad()
        loss = site.task.loss(model, site.task.collate([rows[i] for i in indices]))
        (loss.total / loss.units).backward()  # type: ignore[no-untyped-call] # PyTorch's own
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
    return trees.clone(dict(model.named_parameters()))
