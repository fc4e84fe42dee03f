"""FedAvg: the weighted mean of what the participants trained (McMahan et al. 2017, arXiv:1602.05629)."""

from __future__ import annotations

from foedus.core.trees import ParamTree
from foedus.federation.protocols import Aggregate, Algorithm, Memory, ServerState
from foedus.strategies.local_training import step_against, train_and_send_delta


def fedavg(server_learning_rate: float = 1.0) -> Algorithm:
    """Return FedAvg; a server learning rate of 1 is the paper's, others scale the mean step."""

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        return step_against(state.params, aggregate.averaged["delta"], server_learning_rate), state.memory

    return Algorithm(local=train_and_send_delta, step=step)
