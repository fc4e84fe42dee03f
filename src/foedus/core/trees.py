"""All arithmetic on parameter trees.

A ParamTree maps parameter names to tensors. Trees that are combined have the same names, in any
order, and the same shapes. Functions return new trees; the two that write in place say so in their name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

ParamTree = Mapping[str, Tensor]


def add(left: ParamTree, right: ParamTree) -> ParamTree:
    """Return left + right."""
    return {name: tensor + right[name] for name, tensor in left.items()}


def subtract(left: ParamTree, right: ParamTree) -> ParamTree:
    """Return left - right."""
    return {name: tensor - right[name] for name, tensor in left.items()}


def scale(tree: ParamTree, factor: float) -> ParamTree:
    """Return factor * tree."""
    return {name: tensor * factor for name, tensor in tree.items()}


def add_scaled(tree: ParamTree, other: ParamTree, factor: float) -> ParamTree:
    """Return tree + factor * other."""
    return {name: torch.add(tensor, other[name], alpha=factor) for name, tensor in tree.items()}


def zip_with(function: Callable[..., Tensor], *trees: ParamTree) -> ParamTree:
    """Return the tree of function(first[name], second[name], …)."""
    return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}


def zeros_like(tree: ParamTree) -> ParamTree:
    """Return zeros of the same names and shapes."""
    return {name: torch.zeros_like(tensor) for name, tensor in tree.items()}


def accumulator_for(tree: ParamTree, *, exact: bool = False) -> ParamTree:
    """Return zeros of the same names and shapes to add up many such trees in: of float32 at least.

    Not float64 for float32 trees: adding to it takes four times as long, in a place that every update passes.
    exact: float64 all the same, or float32 on Apple's GPUs, which have none.
    """
    return {
        name: torch.zeros_like(
            tensor, dtype=torch.promote_types(tensor.dtype, _sum_type(tensor) if exact else torch.float32)
        )
        for name, tensor in tree.items()
    }


def _sum_type(tensor: Tensor) -> torch.dtype:
    """Return float64, or float32 on Apple's GPUs, which have no float64."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def cast(tree: ParamTree, like: ParamTree) -> ParamTree:
    """Return the tree with each tensor in the type and on the device of its namesake in `like`."""
    return {name: tensor.to(like[name]) for name, tensor in tree.items()}


def clone(tree: ParamTree) -> ParamTree:
    """Return a copy that shares no memory with the tree and has no gradient history."""
    return {name: tensor.detach().clone() for name, tensor in tree.items()}


def squared_norm(tree: ParamTree) -> float:
    """Return the sum of squares over all coordinates, accumulated in float64, whatever the order of names.

    A checkpoint returns a tree in another order, and a resumed run must go on with the same bits.
    """
    return math.fsum(float(torch.linalg.vector_norm(t, dtype=_sum_type(t))) ** 2 for t in tree.values())


def norm(tree: ParamTree) -> float:
    """Return the joint L2 norm over all tensors.

    >>> norm({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])})
    5.0
    """
    return math.sqrt(squared_norm(tree))


def is_finite(tree: ParamTree) -> bool:
    """Return whether no coordinate is NaN or infinite.

    If a sum is finite, all that it adds is: NaN and infinity stay in a sum. One that is not may have
    overflowed, so the values are looked at one by one; that is much slower, and rare.
    """
    return all(math.isfinite(float(tensor.sum())) or bool(tensor.isfinite().all()) for tensor in tree.values())


def count(tree: ParamTree) -> int:
    """Return the number of coordinates."""
    return sum(tensor.numel() for tensor in tree.values())


def byte_size(tree: ParamTree) -> int:
    """Return the bytes that the tensors' values take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tree.values())


def mismatch(tree: ParamTree, template: ParamTree) -> str | None:
    """Return how the tree's names or shapes differ from the template's, or None if they agree."""
    if missing := sorted(template.keys() - tree.keys()):
        return f"{missing[0]} is missing" + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
    if unknown := sorted(tree.keys() - template.keys()):
        return f"{unknown[0]} is unknown" + (f", and {len(unknown) - 1} more" if len(unknown) > 1 else "")
    for name, tensor in tree.items():
        if tensor.shape != template[name].shape:
            return f"{name} has shape {tuple(tensor.shape)}, expected {tuple(template[name].shape)}"
    return None


def add_scaled_in_place(total: ParamTree, tree: ParamTree, factor: float) -> None:
    """Add factor * tree to `total`, in the type of `total`."""
    for name, tensor in total.items():
        tensor.add_(tree[name].to(tensor.device), alpha=factor)


def draw_towards_in_place(mean: ParamTree, tree: ParamTree, share: float) -> None:
    """Move `mean` by that share of the way to the tree, in the type of `mean`; by 1, it becomes the tree.

    Where both are equal nothing changes, to the last bit.
    """
    for name, tensor in mean.items():
        tensor.lerp_(tree[name].to(tensor), share)


def copy_in_place(target: ParamTree, source: ParamTree) -> None:
    """Overwrite the target's values with the source's."""
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])
