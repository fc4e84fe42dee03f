"""Streaming DiLoCo: one fragment of the model a round, mixed in while training goes on.

Douillard et al. 2025, arXiv:2501.18512. In round r (of those that stood, from 0), with P fragments:
1. Participants go on from their own parameters, not from the coordinator's.
2. After `overlap` steps, in which the network had time, the coordinator's new fragment r - 1 mod P is mixed in:
   local <- mixing * local + (1 - mixing) * global.
3. At the round's end they send fragment r mod P, and the coordinator takes DiLoCo's step on it alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Literal

import torch

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate, Trees
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, Part, ServerState
from foedus.strategies.diloco import Upload, outer_step
from foedus.strategies.fragments import fragments_of
from foedus.strategies.local_training import scalar


def streaming_diloco(
    fragments: int,
    overlap: int = 0,
    mixing: float = 0.5,
    *,
    momentum: float = 0.9,
    server_learning_rate: float = 0.7,
    inner_state: Literal["keep", "reset"] = "keep",
    upload: Upload = "params",
) -> Algorithm:
    """Return Streaming DiLoCo. With one fragment, overlap 0 and mixing 0 it is DiLoCo to the last bit.

    A participant that was not in the last round that stood starts from the coordinator's parameters, and so does one
    that is new; it is sent all of them, and the others the fragment that has changed. Only the optimizer's state is
    kept from longer ago.
    upload: "params" sends the fragment as trained; "delta", which suits compression, what was last received of it
        minus that, for which participants remember what they received.
    """

    def names(params: ParamTree, turn: int) -> list[str]:
        return list(fragments_of(params, fragments)[turn % fragments])

    def init(params: ParamTree) -> Memory:
        fragments_of(params, fragments)  # refuses a model of too few blocks
        velocity = {"momentum": trees.zeros_like(params)} if momentum > 0 else {}
        return {"turn": scalar(0), **velocity}

    def send(state: ServerState) -> Trees:
        return {"params": state.params, "turn": {**state.memory["turn"], "whole": torch.tensor(len(state.params))}}

    def changed(state: ServerState) -> ParamTree:
        return _part(state.params, names(state.params, _turn(state.memory) - 1))

    def in_turn(state: ServerState) -> ParamTree:
        return _part(state.params, names(state.params, _turn(state.memory)))

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        turn, received = _turn(broadcast.trees), broadcast.params
        optimizer = memory.get("optimizer") if inner_state == "keep" else None
        if "local" in memory and _turn(memory) == turn:
            start = memory["local"]
            fresh = _part(received, names(start, turn - 1))
            interventions = {overlap: partial(_mixed, fresh, mixing)}
        elif len(received) == int(broadcast.trees["turn"]["whole"]):
            start = fresh = received
            interventions = {}
        else:
            raise ParticipantError("it was sent one fragment, but does not remember the round before")
        result = task.train(start, broadcast.clock, optimizer=optimizer, interventions=interventions)
        trained = trees.clone(result.params)
        last_received = {**memory.get("received", {}), **fresh}
        sent = _part(trained, names(trained, turn))
        if upload == "delta":
            sent = trees.subtract(_part(last_received, sent), sent)
        kept: dict[str, ParamTree] = {"local": trained, "turn": scalar(turn + 1)}
        if upload == "delta":
            kept["received"] = last_received
        if inner_state == "keep" and result.optimizer is not None:
            kept["optimizer"] = result.optimizer
        update = LocalUpdate({upload: sent}, result.weight, metrics=result.metrics, counts=result.counts)
        return update, {**memory, **kept}

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        turn = _turn(state.memory)
        mean = aggregate.averaged[upload]
        velocity = _part(state.memory["momentum"], mean) if momentum > 0 else None
        moved, velocity = outer_step(
            _part(state.params, mean), mean, velocity, momentum, server_learning_rate, upload=upload
        )
        memory = {"turn": scalar(turn + 1)}
        if velocity is not None:
            memory["momentum"] = {**state.memory["momentum"], **velocity}
        return {**state.params, **moved}, memory

    return Algorithm(
        local, step, init, send, parts=(Part(upload),), in_turn=in_turn, changed=changed, fragments=fragments
    )


def _turn(memory: Trees) -> int:
    """Return how many rounds have stood."""
    return int(memory["turn"]["value"])


def _part(tree: ParamTree, names: Iterable[str]) -> ParamTree:
    return {name: tree[name] for name in names}


def _mixed(fresh: ParamTree, mixing: float, live: ParamTree) -> ParamTree:
    """Return mixing * live + (1 - mixing) * fresh; at 0 and 1, and where both are equal, one of the two exactly."""
    return {name: torch.lerp(tensor, live[name], mixing) for name, tensor in fresh.items()}
