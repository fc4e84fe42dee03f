"""FedAvgM: momentum at the coordinator (Hsu, Qi, Brown 2019, arXiv:1909.06335)."""

from __future__ import annotations

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.protocols import Aggregate, Algorithm, Memory, ServerState
from foedus.strategies.local_training import step_against, train_and_send_delta


def fedavgm(momentum: float = 0.9, server_learning_rate: float = 1.0) -> Algorithm:
    """Return FedAvgM: m <- momentum * m + delta; w <- w - server_learning_rate * m.

    The momentum accumulates: its stationary step is 1 / (1 - momentum) times the mean delta. An
    exponential average, (1 - momentum) * delta, would be another algorithm with a smaller step.
    """

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        moved = trees.add_scaled(aggregate.averaged["delta"], state.memory["momentum"], momentum)
        return step_against(state.params, moved, server_learning_rate), {"momentum": trees.cast(moved, state.params)}

    return Algorithm(local=train_and_send_delta, step=step, init=lambda params: {"momentum": trees.zeros_like(params)})
