"""What one participant contributes, bounded: the joint L2 norm of all that it sends."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import LocalUpdate

# Rounding a scaled tree to float32 makes its norm larger by 2^-24 of itself at most.
_ROOM_FOR_ROUNDING = 1 - 2.0**-22


def upload_norm(update: LocalUpdate) -> float:
    """Return the joint L2 norm over every tree of an update, averaged and summed ones alike.

    update: without encoded trees; decode it first.
    """
    assert not update.encoded, "encoded trees have no norm of their own"
    parts = [*update.averaged.values(), *update.summed.values()]
    return math.sqrt(math.fsum(trees.squared_norm(tree) for tree in parts))


def clip(update: LocalUpdate, norm: float) -> tuple[LocalUpdate, bool]:
    """Return the update's trees scaled down together to a joint norm <= `norm`, and whether they were within it.

    The weight is 1, and metrics and counts are left out: they would tell of a participant beyond the bound.
    Source: McMahan et al. 2018, section 2, "flat clipping", arXiv:1710.06963.
    Raises: ParticipantError if the update holds NaN or infinite values.
    """
    given = upload_norm(update)
    if not math.isfinite(given):
        raise ParticipantError("its update holds NaN or infinite values, so that it cannot be clipped")
    bare = replace(update, weight=1.0, metrics={}, counts={})
    if given <= norm:
        return bare, True
    factor = norm / given * _ROOM_FOR_ROUNDING
    return replace(
        bare,
        averaged={name: _scaled(tree, factor) for name, tree in update.averaged.items()},
        summed={name: _scaled(tree, factor) for name, tree in update.summed.items()},
    ), False


def _scaled(tree: ParamTree, factor: float) -> ParamTree:
    """Return factor * tree in float32 at least; rounding to half precision would make it too long."""
    return {name: t.to(torch.promote_types(t.dtype, torch.float32)) * factor for name, t in tree.items()}
