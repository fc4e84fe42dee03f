"""The slow obvious version of clipped sums: each record alone, by autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from foedus.core import trees
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.models.travel import travelling
from foedus.privacy.gradients.clipped_sums import ClippedSums
from foedus.training.task import Batch, Example, Task


def stirred(model: nn.Module, seed: int = 0) -> dict[str, nn.Parameter]:
    """Return the trainable parameters, moved at random.

    Fresh models give all records nearly the same features, so that sums cancel to nothing; fresh adapters give their
    first factor no gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = travelling(model)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return parameters


def record_gradients(parameters: Mapping[str, nn.Parameter], losses: Sequence[Callable[[], Tensor]]) -> list[ParamTree]:
    """Return the gradient of each record's loss."""
    gradients: list[ParamTree] = []
    for loss in losses:
        found = torch.autograd.grad(loss().sum(), list(parameters.values()), allow_unused=True, retain_graph=True)
        gradients.append(
            {
                name: torch.zeros_like(parameter) if gradient is None else gradient
                for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
            }
        )
    return gradients


def gradients_within(losses: Tensor, parameters: Mapping[str, nn.Parameter]) -> list[ParamTree]:
    """Return the gradient of each record's loss in one forward pass, whose dropout all share."""
    return record_gradients(parameters, [lambda loss=loss: loss for loss in losses])  # type: ignore[misc]


def clipped_sum(gradients: Sequence[ParamTree], clip_norm: float) -> ParamTree:
    """Return Σ min(1, C / ‖g‖) g."""
    total = trees.zeros_like(gradients[0])
    for gradient in gradients:
        total = trees.add_scaled(total, gradient, min(1.0, clip_norm / max(trees.norm(gradient), 1e-30)))
    return total


def alone(task: Task, model: nn.Module, examples: Sequence[Example]) -> list[Callable[[], Tensor]]:
    """Return each example's loss in a batch of its own, with the mask that it has in company."""
    together = task.collate(examples, SeedKey.from_seed(3))
    return [lambda i=i: task.record_losses(model, _row(together, i)) for i in range(len(examples))]  # type: ignore[misc]


def by_book_keeping(
    task: Task,
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    examples: Sequence[Example],
    clip_norm: float,
) -> ParamTree:
    """Return the clipped sum of one batch of the same examples."""
    sums = ClippedSums(model, parameters, clip_norm)
    batch = task.collate(examples, SeedKey.from_seed(3))
    sums.add(lambda: task.record_losses(model, batch), len(examples))
    return sums.take()


def distance(left: ParamTree, right: ParamTree) -> float:
    """Return the norm of the difference over the norm of the second."""
    return trees.norm(trees.subtract(left, right)) / trees.norm(right)


def _row(batch: Batch, index: int) -> Batch:
    return {name: tensor[index : index + 1] for name, tensor in batch.items()}
