"""DiLoCo: many local steps, and Nesterov momentum at the coordinator (Douillard et al. 2023, arXiv:2311.08105)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate, Trees
from foedus.federation.protocols import Aggregate, Algorithm, LocalResult, LocalTask, Memory, Part, ServerState
from foedus.strategies.local_training import pseudo_gradient, train

InnerState = Literal["keep", "reset", "average"]
Upload = Literal["params", "delta"]

UNFIT_PARAMS = "parameters are not small as differences are, and clipping would shrink the model; use upload='delta'"
UNFIT_STATE = (
    "an optimizer's second moments and step counts must not become negative, as noise would make them; "
    "use inner_state: keep or reset"
)


def diloco(
    momentum: float = 0.9,
    server_learning_rate: float = 0.7,
    *,
    inner_state: InnerState = "keep",
    optimizer_like: Callable[[ParamTree], ParamTree] | None = None,
    upload: Upload = "params",
) -> Algorithm:
    """Return DiLoCo: m <- momentum * m + delta; w <- w - server_learning_rate * (delta + momentum * m).

    That is PyTorch's SGD(nesterov=True) on the mean delta = w - w_k. Its stationary step is
    server_learning_rate / (1 - momentum) times delta.
    inner_state: what becomes of the participants' optimizer between rounds: each keeps its own; all
        start anew; or its moments and step counts are averaged like the parameters and sent back.
    optimizer_like: from the parameters to the names and shapes of the optimizer's state; for "average".
    upload: "params" sends what was trained, so that delta is formed from the mean, and with momentum 0
        and server_learning_rate 1 the new parameters are that mean to the last bit: w - (w - w_k) is
        not always w_k in floating point. "delta" sends w - w_k, which suits compression, clipping and
        noise. Both sum to the same beyond rounding, and have the same bytes.
    """
    averages = inner_state == "average"
    assert optimizer_like is not None or not averages, "what is averaged must be declared"

    def init(params: ParamTree) -> Memory:
        velocity = {"momentum": trees.zeros_like(params)} if momentum > 0 else {}
        return {**velocity, **({"optimizer": _zeros(params, optimizer_like)} if averages else {})}

    def send(state: ServerState) -> Trees:
        inner = {"optimizer": state.memory["optimizer"]} if averages else {}
        return {"params": state.params, **inner}

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        match inner_state:
            case "keep":
                result, memory = train(task, broadcast, memory)
            case "reset":
                result = task.train(broadcast.params, broadcast.clock)
            case "average":
                result = task.train(broadcast.params, broadcast.clock, optimizer=broadcast.trees["optimizer"])
        inner = {"optimizer": _whole_state(result, broadcast.trees["optimizer"])} if averages else {}
        sent = trees.clone(result.params) if upload == "params" else pseudo_gradient(broadcast, result)
        return LocalUpdate({upload: sent, **inner}, result.weight, metrics=result.metrics, counts=result.counts), memory

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        moved, velocity = outer_step(
            state.params,
            aggregate.averaged[upload],
            state.memory.get("momentum"),
            momentum,
            server_learning_rate,
            upload=upload,
        )
        memory = {"optimizer": aggregate.averaged["optimizer"]} if averages else {}
        return moved, {**memory, **({"momentum": velocity} if velocity is not None else {})}

    inner = (Part("optimizer", shaped=optimizer_like, unfit_for_noise=UNFIT_STATE),) if averages else ()
    sent = Part(upload, unfit_for_noise=UNFIT_PARAMS if upload == "params" else None)
    return Algorithm(local, step, init, send, parts=(sent, *inner))


def outer_step(
    params: ParamTree,
    mean: ParamTree,
    velocity: ParamTree | None,
    momentum: float,
    server_learning_rate: float,
    *,
    upload: Upload,
) -> tuple[ParamTree, ParamTree | None]:
    """Return the coordinator's new parameters and velocity.

    mean: of what was uploaded, in the type to compute in. velocity: None with momentum 0.
    """
    start = {name: tensor.to(mean[name].dtype) for name, tensor in params.items()}
    delta = trees.subtract(start, mean) if upload == "params" else mean
    if upload == "params":  # lerp by 1 is its end to the last bit
        moved = trees.zip_with(lambda w, m: torch.lerp(w, m, server_learning_rate), start, mean)
    else:
        moved = trees.add_scaled(start, delta, -server_learning_rate)
    if velocity is None:
        return trees.cast(moved, params), None
    velocity = trees.add_scaled(delta, velocity, momentum)
    moved = trees.add_scaled(moved, velocity, -server_learning_rate * momentum)
    return trees.cast(moved, params), trees.cast(velocity, params)


def _zeros(params: ParamTree, optimizer_like: Callable[[ParamTree], ParamTree] | None) -> ParamTree:
    """Return the state of an optimizer before its first step: zeros, where the parameters lie."""
    device = next(iter(params.values())).device
    like = optimizer_like(params) if optimizer_like is not None else {}
    return {name: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device) for name, tensor in like.items()}


def _whole_state(result: LocalResult, received: ParamTree) -> ParamTree:
    """Return the optimizer's state; what its steps did not reach is as it was received.

    Raises: ParticipantError if it holds what is not declared.
    """
    state = result.optimizer or {}
    if undeclared := sorted(state.keys() - received.keys()):
        raise ParticipantError(f"its optimizer holds {undeclared[0]}, which is not declared")
    return {name: state.get(name, tensor) for name, tensor in received.items()}
