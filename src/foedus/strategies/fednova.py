"""FedNova: participants that took more steps do not pull harder (Wang et al. 2020, arXiv:2007.07481)."""

from __future__ import annotations

from collections.abc import Sequence

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, Part, ServerState
from foedus.strategies.local_training import pseudo_gradient, scalar, step_against, train

UNFIT = (
    "FedNova multiplies the mean direction with the mean path, so clipping both would shrink a step twice; "
    "use fedavg with local.steps, which makes all paths equal"
)


def fednova(momentum: float = 0.0, server_learning_rate: float = 1.0) -> Algorithm:
    """Return FedNova: w <- w - tau_eff * sum p_i delta_i / |a_i|, with tau_eff = sum p_i |a_i|.

    momentum: that of the participants' SGD; |a_i| follows from it and the step sizes in closed form.
        With an adaptive optimizer no closed form exists: 0 then divides by the steps, a heuristic.
    """

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        result, memory = train(task, broadcast, memory)
        length = path_length(result.step_sizes, momentum)
        direction = trees.scale(pseudo_gradient(broadcast, result), 1 / length if length > 0 else 0.0)
        parts = {"direction": direction, "path": scalar(length)}
        return LocalUpdate(parts, result.weight, metrics=result.metrics, counts=result.counts), memory

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        effective = float(aggregate.averaged["path"]["value"])
        return step_against(
            state.params, aggregate.averaged["direction"], server_learning_rate * effective
        ), state.memory

    return Algorithm(local, step, parts=(Part("direction"), Part("path", scalar=True, unfit_for_noise=UNFIT)))


def path_length(step_sizes: Sequence[float], momentum: float) -> float:
    """Return |a|_1: how far a run of SGD steps goes along a gradient that does not change.

    With heavy-ball momentum r the t-th step (from 1) moves by step_size_t * (1 - r^t) / (1 - r). For
    equal steps that is the paper's closed form times the step size.

    >>> path_length([1.0, 1.0, 1.0], momentum=0.0)
    3.0
    >>> path_length([1.0, 1.0], momentum=0.5)  # [2 - .5 (1 - .25) / .5] / .5
    2.5
    """
    return sum(size * (1 - momentum**t) / (1 - momentum) for t, size in enumerate(step_sizes, start=1))
