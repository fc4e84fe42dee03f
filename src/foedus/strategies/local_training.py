"""What the participants' halves of most strategies share: train, and report the pseudo-gradient."""

from __future__ import annotations

import torch

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Correction, LocalResult, LocalTask, Memory


def train(
    task: LocalTask, broadcast: Broadcast, memory: Memory, correction: Correction | None = None
) -> tuple[LocalResult, Memory]:
    """Train from the broadcast parameters; the memory returned holds the optimizer's state if it is kept."""
    result = task.train(broadcast.params, broadcast.clock, correction, memory.get("optimizer"))
    kept = {"optimizer": result.optimizer} if result.optimizer is not None else {}
    return result, {**memory, **kept}


def pseudo_gradient(broadcast: Broadcast, result: LocalResult) -> ParamTree:
    """Return start - trained: it points where a gradient does, so a server step subtracts it."""
    return trees.subtract(broadcast.params, result.params)


def scalar(value: float) -> ParamTree:
    """Return the tree of a scalar part; in float64, or a strategy's ratios would have the digits of float32."""
    return {"value": torch.tensor(value, dtype=torch.float64)}


def delta_update(broadcast: Broadcast, result: LocalResult) -> LocalUpdate:
    """Return the update of FedAvg: the pseudo-gradient, with the run's weight."""
    delta = pseudo_gradient(broadcast, result)
    return LocalUpdate({"delta": delta}, result.weight, metrics=result.metrics, counts=result.counts)


def train_and_send_delta(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
    """Train without any correction and send the pseudo-gradient: FedAvg's local half."""
    result, memory = train(task, broadcast, memory)
    return delta_update(broadcast, result), memory


def step_against(params: ParamTree, direction: ParamTree, learning_rate: float) -> ParamTree:
    """Return params - learning_rate * direction, computed in the direction's type and rounded once."""
    return {
        name: (p.to(direction[name].dtype) - learning_rate * direction[name]).to(p.dtype) for name, p in params.items()
    }
