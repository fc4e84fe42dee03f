"""Training as one writes it by hand: the same model, rows, batches and steps, and no federation."""

from __future__ import annotations

import torch

from foedus.config.assemble import Assembly
from foedus.training.batches import shuffled_batches


def train_plainly(assembly: Assembly) -> int:
    """Train one epoch over every participant's rows, one after the other; return the steps made.

    The loss is the model's own; the optimizer is made once and never reset.
    """
    model, settings = assembly.workspace.model, assembly.settings
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    model.train()
    steps = 0
    for name, splits in assembly.examples.items():
        rows = splits["train"]
        lengths = [assembly.task.length(row) for row in rows]
        key = assembly.key.child("participant", name, "round", 0, "batches", "epoch", 0)
        for indices in shuffled_batches(lengths, settings.batch_size, key, group_by_length=settings.group_by_length):
            batch = assembly.task.collate([rows[i] for i in indices])
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip or float("inf"))
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
    return steps
