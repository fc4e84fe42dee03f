"""Every strategy, as the contract suite plays it: three unlike participants on parabolas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from foedus.compression import blocks
from foedus.compression.feedback import compressed
from foedus.compression.half import half
from foedus.compression.top_k import top_k
from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.messages import LocalUpdate, ParticipantId, Reply, Request, Trees
from foedus.federation.protocols import Algorithm, Engine, ServerState
from foedus.strategies.diloco import diloco
from foedus.strategies.fedavg import fedavg
from foedus.strategies.fedavgm import fedavgm
from foedus.strategies.feddyn import feddyn
from foedus.strategies.fedexp import fedexp
from foedus.strategies.fednova import fednova
from foedus.strategies.fedopt import fedadagrad, fedadam, fedyogi
from foedus.strategies.fedprox import fedprox
from foedus.strategies.scaffold import scaffold
from foedus.strategies.streaming_diloco import streaming_diloco
from strategies.quadratics import QuadraticTask

STRATEGIES: Mapping[str, Callable[[], Algorithm]] = {
    "fedavg": fedavg,
    "fedprox": lambda: fedprox(mu=0.5),
    "fedprox decoupled": lambda: fedprox(mu=0.5, decoupled=True),
    "fedavgm": fedavgm,
    "fedadam": lambda: fedadam(server_learning_rate=0.1),
    "fedyogi": lambda: fedyogi(server_learning_rate=0.1),
    "fedadagrad": lambda: fedadagrad(server_learning_rate=0.1),
    "scaffold option 1": lambda: scaffold(option=1),
    "scaffold option 2": lambda: scaffold(option=2),
    "fednova": fednova,
    "fednova with momentum": lambda: fednova(momentum=0.5),
    "feddyn": lambda: feddyn(alpha=0.3),
    "fedexp": fedexp,
    "diloco": lambda: diloco(0.5, 0.7),
    "diloco that sends differences": lambda: diloco(0.5, 0.7, upload="delta"),
    "diloco that starts anew": lambda: diloco(0.5, 0.7, inner_state="reset"),
    "diloco that averages": lambda: diloco(0.5, 0.7, inner_state="average", optimizer_like=lambda params: params),
    "diloco in int4": lambda: compressed(diloco(0.5, 0.7, upload="delta"), blocks.int4),
    "streaming_diloco": lambda: streaming_diloco(2, overlap=1, momentum=0.5),
    "streaming_diloco that sends differences": lambda: streaming_diloco(3, 2, 0.8, momentum=0.5, upload="delta"),
    "streaming_diloco that starts anew": lambda: streaming_diloco(2, 0, 0.3, inner_state="reset"),
    "streaming_diloco in int4": lambda: compressed(streaming_diloco(4, 1, upload="delta"), blocks.int4),
    "fedavg in fp16": lambda: compressed(fedavg(), half),
    "fedprox in int8": lambda: compressed(fedprox(mu=0.5), blocks.int8),
    "fedadam in int4": lambda: compressed(fedadam(server_learning_rate=0.1), blocks.int4, error_feedback=False),
    "fedavgm, half of it": lambda: compressed(fedavgm(), top_k(0.5)),
}


def sites(*, keep_optimizer: bool = False) -> dict[str, QuadraticTask]:
    """Return three participants of equal weight, as SCAFFOLD and FedDyn want, that disagree in all else."""
    momentum = 0.5 if keep_optimizer else 0.0
    return {
        "a": QuadraticTask(1.0, 0.3, [0.05] * 5, momentum, keep_optimizer=keep_optimizer),
        "b": QuadraticTask(4.0, 1.1, [0.07, 0.03], momentum, keep_optimizer=keep_optimizer),
        "c": QuadraticTask(2.0, -0.7, [0.1] * 3, momentum, keep_optimizer=keep_optimizer),
    }


def start(dtype: torch.dtype = torch.float64) -> ParamTree:
    """Return parameters whose names are not in the order in which a file would hold them."""
    return {
        "layer.weight": torch.tensor([[0.5, -0.25], [1.5, 3.0]], dtype=dtype),
        "layer.bias": torch.tensor([0.125, 7.0], dtype=dtype),
        "attention.query": torch.tensor([1e-3, 0.7, -2.0], dtype=dtype),
        "scale": torch.tensor(0.9, dtype=dtype),
    }


def fresh(algorithm: Algorithm, params: ParamTree) -> ServerState:
    """Return the state before the first round."""
    return ServerState(0, params, algorithm.init(params))


def same_tree(left: ParamTree, right: ParamTree) -> bool:
    """Return whether two trees hold the same bits under the same names."""
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left
    )


def same_trees(left: Trees, right: Trees) -> bool:
    """Return whether two sets of named trees hold the same bits under the same names."""
    return left.keys() == right.keys() and all(same_tree(left[name], right[name]) for name in left)


def copied(given: Trees) -> Trees:
    """Return a copy that shares no memory."""
    return {name: trees.clone(tree) for name, tree in given.items()}


@dataclass(frozen=True)
class Spoilt:
    """A participant whose work goes wrong after it has trained."""

    task: QuadraticTask
    spoil: Callable[[LocalUpdate], object]


def spoiling(algorithm: Algorithm) -> Algorithm:
    """Return the strategy with a local half that lets Spoilt participants spoil their updates."""

    def local(task: object, *rest: object) -> object:
        if not isinstance(task, Spoilt):
            return algorithm.local(task, *rest)  # type: ignore[arg-type] # handed on as they came
        update, memory = algorithm.local(task.task, *rest)  # type: ignore[arg-type] # likewise
        return task.spoil(update), memory

    return replace(algorithm, local=local)  # type: ignore[arg-type] # spoilt on purpose


@dataclass(frozen=True)
class Deaf:
    """An engine to some of whose participants nothing gets through."""

    engine: Engine
    unreachable: Collection[ParticipantId]

    def population(self) -> Sequence[ParticipantId]:
        return self.engine.population()

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        return self.engine.exchange({name: r for name, r in requests.items() if name not in self.unreachable})

    def settle(self, counted: Collection[ParticipantId]) -> None:
        self.engine.settle(counted)

    def save_memories(self, folder: Path) -> None:
        self.engine.save_memories(folder)

    def load_memories(self, folder: Path) -> None:
        self.engine.load_memories(folder)
