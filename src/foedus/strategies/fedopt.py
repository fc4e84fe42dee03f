"""FedAdam, FedYogi, FedAdagrad: adaptive steps at the coordinator (Reddi et al. 2021, arXiv:2003.00295)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.protocols import Aggregate, Algorithm, Memory, ServerState
from foedus.strategies.local_training import step_against, train_and_send_delta

SecondMoment = Callable[[Tensor, Tensor], Tensor]  # (v, delta^2) -> v


def fedadam(
    server_learning_rate: float = 0.01, beta1: float = 0.9, beta2: float = 0.99, tau: float = 1e-3
) -> Algorithm:
    """Return FedAdam: v <- beta2 * v + (1 - beta2) * delta^2."""
    return _adaptive(server_learning_rate, beta1, tau, lambda v, square: beta2 * v + (1 - beta2) * square)


def fedyogi(
    server_learning_rate: float = 0.01, beta1: float = 0.9, beta2: float = 0.99, tau: float = 1e-3
) -> Algorithm:
    """Return FedYogi: v <- v - (1 - beta2) * delta^2 * sign(v - delta^2)."""
    return _adaptive(
        server_learning_rate, beta1, tau, lambda v, square: v - (1 - beta2) * square * torch.sign(v - square)
    )


def fedadagrad(server_learning_rate: float = 0.01, beta1: float = 0.9, tau: float = 1e-3) -> Algorithm:
    """Return FedAdagrad: v <- v + delta^2."""
    return _adaptive(server_learning_rate, beta1, tau, torch.add)


def _adaptive(server_learning_rate: float, beta1: float, tau: float, second_moment: SecondMoment) -> Algorithm:
    """Return Algorithm 2 of the paper: w <- w - server_learning_rate * m / (sqrt(v) + tau).

    m <- beta1 * m + (1 - beta1) * delta, from m = 0; v starts at tau^2. As in the paper there is no
    bias correction. tau bounds how adaptive the step is.
    """

    def init(params: ParamTree) -> Memory:
        return {
            "first_moment": trees.zeros_like(params),
            "second_moment": {name: torch.full_like(tensor, tau**2) for name, tensor in params.items()},
        }

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        delta = aggregate.averaged["delta"]
        first = trees.zip_with(lambda m, d: beta1 * m + (1 - beta1) * d, state.memory["first_moment"], delta)
        second = trees.zip_with(lambda v, d: second_moment(v.to(d.dtype), d * d), state.memory["second_moment"], delta)
        direction = trees.zip_with(lambda m, v: m / (v.sqrt() + tau), first, second)
        memory = {"first_moment": trees.cast(first, state.params), "second_moment": trees.cast(second, state.params)}
        return step_against(state.params, direction, server_learning_rate), memory

    return Algorithm(local=train_and_send_delta, step=step, init=init)
