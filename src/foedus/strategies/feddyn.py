"""FedDyn: local losses are corrected so that their optima agree (Acar et al. 2021, arXiv:2111.04263)."""

from __future__ import annotations

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Aggregate, Algorithm, Correction, LocalTask, Memory, ServerState
from foedus.strategies.local_training import delta_update, step_against, train


def feddyn(alpha: float = 0.01) -> Algorithm:
    """Return FedDyn, with uniform weights: its fixed point is the optimum of the mean of local losses.

    A participant minimises f_i(w) - <g_i, w> + alpha/2 |w - w_received|^2 and keeps
    g_i <- g_i - alpha (w_i - w_received); the coordinator keeps h <- h - alpha/N sum (w_i - w_received)
    and sets w <- mean w_i - h / alpha. Large alpha can diverge.
    """

    def init(params: ParamTree) -> Memory:
        return {"h": trees.zeros_like(params)}

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        own = memory.get("gradient") or trees.zeros_like(broadcast.params)
        result, memory = train(task, broadcast, memory, Correction(offset=trees.scale(own, -1.0), strength=alpha))
        update = delta_update(broadcast, result)
        return update, {**memory, "gradient": trees.add_scaled(own, update.averaged["delta"], alpha)}

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        delta = aggregate.averaged["delta"]
        h = trees.zip_with(
            lambda old, d: old + alpha * aggregate.reports / aggregate.population * d, state.memory["h"], delta
        )
        return step_against(state.params, trees.add_scaled(delta, h, 1 / alpha), 1.0), {
            "h": trees.cast(h, state.params)
        }

    return Algorithm(local, step, init)
