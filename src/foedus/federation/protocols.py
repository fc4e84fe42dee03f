"""The seams of a federation. The round knows these; strategies, training and engines implement them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from foedus.core.trees import ParamTree
from foedus.federation.messages import (
    COUNTS,
    Broadcast,
    Clock,
    EncodedTree,
    LocalUpdate,
    ParticipantId,
    Reply,
    Request,
    SecureSumStep,
    Summable,
    Sums,
    Train,
    Trees,
)

Memory = Trees  # what one side keeps between rounds; empty at first


@dataclass(frozen=True)
class Correction:
    """An affine term that a strategy adds to every local gradient: g + offset + strength * (w - anchor).

    The anchor is what training started from. It is added after the gradient is clipped, so that a
    clipped gradient stays clipped and the correction stays whole.
    decoupled: apply strength * learning_rate * (w - anchor) to the weights instead, as AdamW does
        with weight decay, so that an adaptive optimizer does not rescale it.
    """

    offset: ParamTree | None = None
    strength: float = 0.0
    decoupled: bool = False


# From the parameters as they are to new values of some of them, in a tree of these alone. It changes nothing itself.
Intervention = Callable[[ParamTree], ParamTree]


@dataclass(frozen=True)
class LocalResult:
    """What local training gives to the participant's half of a strategy.

    params: the trained parameters. They may lie in the model, which the next participant trains, so
        clone what is remembered of them.
    weight: what the run's weighting gives this participant (examples, tokens, or 1).
    step_sizes: the learning rate of each optimizer step, in order.
    metrics: weighted means over the round, such as {"loss": …}.
    optimizer: the optimizer's state, or None if the run does not keep it.
    counts: what was done in the round, of COUNTS: numbers that add up over participants.
    speed: optimizer steps a second, if the number of steps depends on it; to be handed back in the next round.
    """

    params: ParamTree
    weight: float
    step_sizes: Sequence[float]
    metrics: Mapping[str, float] = field(default_factory=dict)
    optimizer: ParamTree | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    speed: float | None = None


class LocalTask(Protocol):
    """One participant's data beside the model: what a strategy's local half works with."""

    def train(
        self,
        start: ParamTree,
        clock: Clock,
        correction: Correction | None = None,
        optimizer: ParamTree | None = None,
        *,
        speed: float | None = None,
        interventions: Mapping[int, Intervention] | None = None,
    ) -> LocalResult:
        """Train from `start` for one round's steps.

        optimizer: the state kept from before. speed: that of the result before.
        interventions: after so many steps, 0 being before the first, the function is applied to the live
            parameters; after more than there are, at the end.
        """
        ...

    def gradient(self, params: ParamTree) -> ParamTree:
        """Return the mean gradient over all local training data at these parameters."""
        ...

    def evaluate(self, params: ParamTree, split: str) -> Sums:
        """Return additive statistics over the local split; empty if there are no rows."""
        ...


@runtime_checkable
class HidesRecords(Protocol):
    """A participant's data whose records may be hidden; whatever is told of them then has to be counted."""

    @property
    def hides_records(self) -> bool:
        """Whether they are."""
        ...


@runtime_checkable
class PairCounter(Protocol):
    """One participant's texts before there is a tokenizer: all that it does is to count."""

    def count_pairs(self, merges: Sequence[tuple[int, int]]) -> Tensor:
        """Return how often each pair of units stands side by side after these merges, as one int64 vector."""
        ...


@dataclass(frozen=True)
class ServerState:
    """All that the coordinator carries from round to round.

    round: how many are over. counted: whose updates the last round that stood holds, if the strategy asks for it.
    """

    round: int
    params: ParamTree
    memory: Memory = field(default_factory=dict)
    counted: Sequence[ParticipantId] = ()


@dataclass(frozen=True)
class Aggregate:
    """What a round's reports add up to.

    averaged: weighted means; summed: plain sums; weight: the sum of weights; metrics: weighted means.
    reports: how many participants are in it; the expected number where the true one is private.
    population: how many there are in all.
    """

    averaged: Trees
    summed: Trees
    weight: float
    metrics: Mapping[str, float]
    reports: float
    population: int


class LocalRule(Protocol):
    """The participant's half of a strategy."""

    def __call__(self, task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        """Train and return what may leave, and what this participant remembers."""
        ...


class ServerStep(Protocol):
    """The coordinator's half of a strategy."""

    def __call__(self, state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        """Return the new parameters and the coordinator's new memory."""
        ...


@dataclass(frozen=True)
class Part:
    """One named tree that a strategy's updates hold; what is not declared may not be sent.

    averaged: whether the coordinator uses its weighted mean, or its plain sum.
    scalar: whether it is one number, {"value": 0-d tensor}, or has the shape of the parameters.
    shaped: from the parameters to a tree of its names and shapes, if it has others than these two.
    encode: how it travels, if not as it is; an update then holds it among its encoded trees.
    unfit_for_noise: why it may not be scaled down with the rest of an update and get noise, with what to do
        instead; None if it may.
    """

    name: str
    averaged: bool = True
    scalar: bool = False
    shaped: Callable[[ParamTree], ParamTree] | None = None
    encode: Callable[[ParamTree], EncodedTree] | None = None
    unfit_for_noise: str | None = None

    def template(self, params: ParamTree) -> ParamTree:
        """Return a tree of the names and shapes that it must have; values are of no meaning."""
        if self.shaped is not None:
            return self.shaped(params)
        return {"value": torch.zeros((), dtype=torch.float64)} if self.scalar else params


def remember_nothing(params: ParamTree) -> Memory:
    """Return the memory of a coordinator that needs none."""
    return {}


def whole(state: ServerState) -> ParamTree:
    """Return all parameters: what the updates of most strategies are of."""
    return state.params


def send_params(state: ServerState) -> Trees:
    """Return the broadcast of a strategy that sends the parameters alone."""
    return {"params": state.params}


@dataclass(frozen=True)
class Algorithm:
    """Both halves of a strategy.

    local: what a participant does in a round.
    step: what the coordinator does with the aggregate.
    init: the coordinator's memory before the first round.
    broadcast: the named trees that it sends; "params" must be among them.
    parts: every tree that an update holds.
    encode_params: how the parameters travel to the participants, if not as they are.
    in_turn: the parameters that a round's updates are of; what the parts' names and shapes follow from.
    changed: the parameters that the last round that stood changed, if those who were counted in it are sent these
        alone; all others are sent all of them.
    fragments: after how many rounds the same parameters are in turn again.
    exact_sums: add updates up in float64, because a privacy guarantee holds for exact sums.
    """

    local: LocalRule
    step: ServerStep
    init: Callable[[ParamTree], Memory] = remember_nothing
    broadcast: Callable[[ServerState], Trees] = send_params
    parts: Sequence[Part] = (Part("delta"),)
    encode_params: Callable[[ParamTree], EncodedTree] | None = None
    in_turn: Callable[[ServerState], ParamTree] = whole
    changed: Callable[[ServerState], ParamTree] | None = None
    fragments: int = 1
    exact_sums: bool = False

    def message(self, state: ServerState, clock: Clock) -> Broadcast:
        """Return what a participant is sent that knows nothing of the rounds before."""
        return self._encoded(self.broadcast(state), clock)

    def brief_message(self, state: ServerState, clock: Clock) -> Broadcast | None:
        """Return what a participant is sent that was counted in the last round that stood; None: the same as others."""
        if self.changed is None:
            return None
        return self._encoded({**self.broadcast(state), "params": self.changed(state)}, clock)

    def _encoded(self, sent: Trees, clock: Clock) -> Broadcast:
        if self.encode_params is None:
            return Broadcast(sent, clock)
        rest = {name: tree for name, tree in sent.items() if name != "params"}
        return Broadcast(rest, clock, {"params": self.encode_params(sent["params"])})

    def templates(self, params: ParamTree, *, averaged: bool) -> Trees:
        """Return trees of the names and shapes that an update's averaged, or summed, trees must have."""
        return {part.name: part.template(params) for part in self.parts if part.averaged == averaged}

    def sample_update(self, params: ParamTree, metrics: Mapping[str, float]) -> LocalUpdate:
        """Return an update as large as every participant's, of no meaningful values."""
        plain = {part.name: part.template(params) for part in self.parts if part.averaged and part.encode is None}
        encoded = {part.name: part.encode(part.template(params)) for part in self.parts if part.encode is not None}
        counts = dict.fromkeys(COUNTS, 0)
        return LocalUpdate(plain, 1.0, self.templates(params, averaged=False), metrics, encoded, counts)


class Engine(Protocol):
    """The way to the participants: in this process, or across a network."""

    def population(self) -> Sequence[ParticipantId]:
        """Return every participant of the run, in a fixed order."""
        ...

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        """Send all requests and yield replies as they come.

        It gets the whole cohort at once. A participant that does not answer has dropped out and is
        not yielded; one that fails yields a Failure. Nothing that a participant does raises here.
        What training leaves to remember is provisional until `settle`.
        """
        ...

    def settle(self, counted: Collection[ParticipantId]) -> None:
        """Tell those who trained since the last call whether their update is in the model.

        The others go back to what they remembered before: control variates that moved while the
        coordinator's did not would leave every later round with a bias.
        """
        ...

    def save_memories(self, folder: Path) -> None:
        """Write what the participants remember into the folder, whole or not at all."""
        ...

    def load_memories(self, folder: Path) -> None:
        """Make the participants remember what a folder of save_memories holds."""
        ...


class Guard(Protocol):
    """Who keeps count of what rounds cost in privacy, and may forbid one. Rounds are counted from 1, as in records."""

    def reserve(self, round_number: int, requests: Mapping[ParticipantId, Train]) -> None:
        """Write down what a round costs, before anything of it is sent or computed.

        requests: what everyone in the cohort would be sent.
        Raises: BudgetError if it would cost more than is allowed, with nothing spent; LedgerError if it
            cannot be written down.
        """
        ...

    def settle(self, round_number: int, asked: Collection[ParticipantId], answered: Collection[ParticipantId]) -> None:
        """Note that a round is over. What was charged to one who was asked stays charged, answered or not."""
        ...

    def record(self, round_number: int) -> Mapping[str, Any]:
        """Return what the record of a settled round says about privacy, as JSON values."""
        ...

    def finish(self) -> None:
        """Note that no round of this run follows: what only a redone round would need is forgotten."""
        ...


class SecureAnswers(Protocol):
    """A participant's side of secure sums, as an engine keeps it."""

    def answer(self, step: SecureSumStep, work: Callable[[Summable], Reply]) -> Reply:
        """Return the answer to one message of a secure sum.

        work: does what the first message asks for; its result stays here, and its sum with others' travels.
        """
        ...
