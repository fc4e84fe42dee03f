"""SCAFFOLD: control variates take the participants' drift out (Karimireddy et al. 2020, arXiv:1910.06378)."""

from __future__ import annotations

from typing import Literal

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate, Trees
from foedus.federation.protocols import Aggregate, Algorithm, Correction, LocalTask, Memory, Part, ServerState
from foedus.strategies.local_training import pseudo_gradient, step_against, train


def scaffold(option: Literal[1, 2] = 2, server_learning_rate: float = 1.0) -> Algorithm:
    """Return SCAFFOLD, for plain SGD at the participants and uniform weights.

    Local steps follow g - c_i + c. A participant's new control variate is its gradient at the
    parameters received (option 1), or c_i - c + (x - y) / sum of step sizes (option 2), which is the
    mean of the gradients along its path: under an adaptive optimizer it would be no gradient. The
    paper's K * eta is the sum of step sizes, so that schedules are right. Twice FedAvg's bytes.
    """

    def init(params: ParamTree) -> Memory:
        return {"control": trees.zeros_like(params)}

    def send(state: ServerState) -> Trees:
        return {"params": state.params, "control": state.memory["control"]}

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        common = broadcast.trees["control"]
        own = memory.get("control") or trees.zeros_like(common)
        result, memory = train(task, broadcast, memory, Correction(offset=trees.subtract(common, own)))
        delta = pseudo_gradient(broadcast, result)
        path = sum(result.step_sizes)
        if option == 1:
            renewed = task.gradient(broadcast.params)
        elif path > 0:
            renewed = trees.add_scaled(trees.subtract(own, common), delta, 1 / path)
        else:  # a round whose learning rates are all 0 tells nothing about the gradient
            renewed = own
        update = LocalUpdate(
            averaged={"delta": delta},
            summed={"control": trees.subtract(renewed, own)},
            weight=result.weight,
            metrics=result.metrics,
            counts=result.counts,
        )
        return update, {**memory, "control": renewed}

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        # divide by the whole population, not by the cohort: absent participants keep their c_i
        moved = trees.scale(aggregate.summed["control"], 1 / aggregate.population)
        control = trees.cast(trees.add(moved, state.memory["control"]), state.params)
        return step_against(state.params, aggregate.averaged["delta"], server_learning_rate), {"control": control}

    parts = (Part("delta"), Part("control", averaged=False))
    return Algorithm(local, step, init, send, parts)
