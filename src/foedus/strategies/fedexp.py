"""FedExP: the server's step grows where participants disagree (Jhunjhunwala et al. 2023, arXiv:2301.09604)."""

from __future__ import annotations

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, Part, ServerState
from foedus.strategies.local_training import pseudo_gradient, scalar, step_against, train

UNFIT = (
    "FedExP's step is a ratio of squared norms, which clipping changes and noise inflates; "
    "use fedavg, or fedadam for steps that adapt"
)


def fedexp(epsilon: float = 1e-3) -> Algorithm:
    """Return FedExP: server step max(1, sum p_i |delta_i|^2 / (2 (|mean delta|^2 + epsilon))).

    epsilon: keeps the step small once the mean is; in units of the squared norm of an update.
    The paper also averages the last two iterates at the end; we return the last one.
    """

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        result, memory = train(task, broadcast, memory)
        delta = pseudo_gradient(broadcast, result)
        parts = {"delta": delta, "squared_norm": scalar(trees.squared_norm(delta))}
        return LocalUpdate(parts, result.weight, metrics=result.metrics, counts=result.counts), memory

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        delta = aggregate.averaged["delta"]
        spread = float(aggregate.averaged["squared_norm"]["value"])
        extrapolation = max(1.0, spread / (2 * (trees.squared_norm(delta) + epsilon)))
        return step_against(state.params, delta, extrapolation), state.memory

    return Algorithm(local, step, parts=(Part("delta"), Part("squared_norm", scalar=True, unfit_for_noise=UNFIT)))
