"""Updates on the one grid that all participants of a secure sum share, with what the grid lost sent later.

A scale for every block of values, as plain int8 has, would not do: words of different scales cannot be added. So the
mean update is rounded to multiples of one step, times the weight that it counts by, and what rounding and clipping
took away is added to the next one: error feedback as in `feedback`. The sum then rounds nothing further.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from foedus.compression.feedback import PART, RESIDUAL, refuse_incompressible
from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Algorithm, LocalTask, Memory
from foedus.privacy.secure_sum.quantize import Grid


def on_common_grid(algorithm: Algorithm, grid: Grid) -> Algorithm:
    """Return the strategy with its part "delta" on the grid, and the rest of it kept by the participant.

    grid: of the weight times a value.
    Raises: ConfigError if the strategy's coordinator uses anything else that the participants trained.
    """
    refuse_incompressible(algorithm.parts)

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        update, after = algorithm.local(task, broadcast, memory)
        before = memory.get(RESIDUAL, {})
        target = {
            name: tensor if name not in before else tensor + before[name]
            for name, tensor in update.averaged[PART].items()
        }
        if not trees.is_finite(target):
            raise ParticipantError(f"its update holds NaN or infinite values in {PART}")
        sent: ParamTree = {name: _rounded(tensor, update.weight, grid) for name, tensor in target.items()}
        residual = {**before, **trees.subtract(target, sent)}
        return replace(update, averaged={**update.averaged, PART: sent}), {**after, RESIDUAL: residual}

    return replace(algorithm, local=local)


def _rounded(values: Tensor, weight: float, grid: Grid) -> Tensor:
    """Return the values of which the weight times each is nearest on the grid, in the type of the values."""
    places = torch.round(values.double() * (weight / grid.step)).clamp_(-grid.levels, grid.levels)
    return (places * (grid.step / weight)).to(values.dtype)
