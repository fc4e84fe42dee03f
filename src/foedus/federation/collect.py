"""Collectors: how a phase's replies become one sum, with no input or output inside.

A collector is a generator. It yields the requests of a phase, is sent that phase's replies one at a
time, then None, and returns what it collected. `drive` runs one over an engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import (
    COUNTS,
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    ParticipantId,
    Reply,
    Request,
    Sums,
    Train,
    Trees,
    payload_bytes,
)
from foedus.federation.protocols import Aggregate, Engine

T = TypeVar("T")

# What a collector yields: a phase's requests, or None while their replies come in.
Requests = Mapping[ParticipantId, Request]
# What it is sent: a reply with its sender, or None when the phase is over.
Received = tuple[ParticipantId, Reply] | None
Collector = Generator[Requests | None, Received, T]

SILENT = "did not answer"


def drive(collector: Collector[T], engine: Engine, notice: Callable[[ParticipantId, Reply], None] | None = None) -> T:
    """Run a collector's phases over an engine and return what it collected.

    notice: is told of each reply as it comes, before the collector.
    """
    try:
        requests = next(collector)
        while True:
            for sender, reply in engine.exchange(requests or {}):
                if notice is not None:
                    notice(sender, reply)
                collector.send((sender, reply))
                del reply  # large, and the next one comes in now
            requests = collector.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result


def phase(requests: Requests, accept: Callable[[ParticipantId, Reply], None]) -> Collector[Mapping[ParticipantId, str]]:
    """Send one phase's requests, hand each reply to `accept`, and return who was left out and why.

    `accept` raises ParticipantError for a reply that cannot be used. A second reply of the same
    participant, or one of somebody who was not asked, is not counted.
    """
    left_out = dict.fromkeys(requests, SILENT)
    seen: set[ParticipantId] = set()
    received = yield requests
    while received is not None:
        sender, reply = received
        if sender in requests and sender not in seen:
            seen.add(sender)
            try:
                accept(sender, reply)
                del left_out[sender]
            except ParticipantError as error:
                left_out[sender] = str(error)
        del reply, received  # large, and the next one comes in now
        received = yield None
    return left_out


@dataclass
class RunningSum:
    """Sums updates one by one; its memory does not grow with their number.

    Of weighted trees it holds the mean so far, which each update draws towards itself by its share of
    the weight. So the mean of equal updates, and of a single one, is that update to the last bit: one
    participant, or identical ones, train as if there were no federation.
    averaged_like, summed_like: the names and shapes that every update must have.
    averaged: means. weight: the sum of all. counts: plain sums. exact: whether to add up in float64.
    """

    averaged_like: Trees
    summed_like: Trees
    averaged: dict[str, ParamTree] = field(default_factory=dict)
    summed: dict[str, ParamTree] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    reports: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    exact: bool = False

    def add(self, update: LocalUpdate) -> None:
        """Add one update.

        Raises: ParticipantError, with nothing added, if it does not hold the declared parts in their
            shapes, is not finite, or its weight is not a positive number.
        """
        update = update.decoded()
        check_update(update, self.averaged_like, self.summed_like)
        share = update.weight / (self.weight + update.weight)
        for name, tree in update.averaged.items():
            if name not in self.averaged:
                self.averaged[name] = trees.accumulator_for(tree, exact=self.exact)
            trees.draw_towards_in_place(self.averaged[name], tree, share)
        for name, tree in update.summed.items():
            if name not in self.summed:
                self.summed[name] = trees.accumulator_for(tree, exact=self.exact)
            trees.add_scaled_in_place(self.summed[name], tree, 1.0)
        for name, value in update.metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + update.weight * value
        for name, count in update.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.weight += update.weight
        self.reports += 1

    def aggregate(self, population: int) -> Aggregate:
        """Return the means and sums over all updates added; of none, there are no trees."""
        return Aggregate(
            averaged=dict(self.averaged),
            summed=dict(self.summed),
            weight=self.weight,
            metrics={name: total / self.weight for name, total in self.metrics.items()},
            reports=self.reports,
            population=population,
        )


def check_update(update: LocalUpdate, averaged_like: Trees, summed_like: Trees) -> None:
    """Return if the update can be added to a sum.

    Raises: ParticipantError with the first thing that is wrong.
    """
    if not (math.isfinite(update.weight) and update.weight > 0):
        raise ParticipantError(f"its weight is {update.weight}; a weight is a positive number")
    for name, value in update.metrics.items():
        if not math.isfinite(value):
            raise ParticipantError(f"its metric {name} is {value}")
    if undeclared := sorted(update.counts.keys() - set(COUNTS)):
        raise ParticipantError(f"it counted {undeclared[0]}; what may be counted is {' and '.join(COUNTS)}")
    for name, count in update.counts.items():
        if not (isinstance(count, int) and count >= 0):
            raise ParticipantError(f"its count of {name} is {count}; a count is a whole number, 0 or more")
    for given, expected in ((update.averaged, averaged_like), (update.summed, summed_like)):
        if given.keys() != expected.keys():
            raise ParticipantError(f"its update holds the parts {sorted(given)}; declared are {sorted(expected)}")
        for name, tree in given.items():
            if problem := trees.mismatch(tree, expected[name]):
                raise ParticipantError(f"its update has another shape: {name}: {problem}")
            if not trees.is_finite(tree):
                raise ParticipantError(f"its update holds NaN or infinite values in {name}")


@dataclass(frozen=True)
class Collected:
    """What a training phase brought: the running sum, who was left out, bytes, each one's metrics and counts.

    clipped: of a secure sum, how many values were beyond its range; None in the clear.
    reason: why there is no sum at all, where that is known.
    """

    total: RunningSum
    left_out: Mapping[ParticipantId, str]
    metrics: Mapping[ParticipantId, Mapping[str, float]]
    counts: Mapping[ParticipantId, Mapping[str, int]]
    bytes_down: int
    bytes_up: int
    clipped: int | None = None
    reason: str | None = None


def collect_updates(requests: Mapping[ParticipantId, Train], total: RunningSum) -> Collector[Collected]:
    """Ask a cohort to train and add the updates to `total` in the clear, as they come in."""
    metrics: dict[ParticipantId, Mapping[str, float]] = {}
    counts: dict[ParticipantId, Mapping[str, int]] = {}
    received_bytes = 0

    def accept(sender: ParticipantId, reply: Reply) -> None:
        nonlocal received_bytes
        match reply:
            case LocalUpdate():
                received_bytes += payload_bytes(reply)
                total.add(reply)
                metrics[sender], counts[sender] = reply.metrics, reply.counts
            case Failure():
                raise ParticipantError(reply.reason)
            case _:
                raise ParticipantError(f"it answered a training request with {type(reply).__name__}")

    sizes = {id(request): payload_bytes(request) for request in requests.values()}
    sent_bytes = sum(sizes[id(request)] for request in requests.values())
    left_out = yield from phase(requests, accept)
    return Collected(total, left_out, metrics, counts, sent_bytes, received_bytes)


@dataclass(frozen=True)
class CollectedEvaluation:
    """Evaluation statistics: their sum over all sites, each site's own, and who was left out."""

    union: Sums
    sites: Mapping[ParticipantId, Sums]
    left_out: Mapping[ParticipantId, str]
    bytes_down: int
    bytes_up: int


def collect_evaluations(cohort: Sequence[ParticipantId], request: Evaluate) -> Collector[CollectedEvaluation]:
    """Ask the cohort to evaluate and sum their statistics; a site without rows adds nothing."""
    union: dict[str, torch.Tensor] = {}
    sites: dict[ParticipantId, Sums] = {}
    received_bytes = 0

    def accept(sender: ParticipantId, reply: Reply) -> None:
        nonlocal received_bytes
        match reply:
            case Evaluation():
                received_bytes += payload_bytes(reply)
                if union and reply.sums and (problem := trees.mismatch(reply.sums, union)):
                    raise ParticipantError(f"its statistics have another shape: {problem}")
                if not trees.is_finite(reply.sums):
                    raise ParticipantError("its statistics hold NaN or infinite values")
                for name, value in reply.sums.items():
                    union[name] = union[name] + value if name in union else value
                if reply.sums:
                    sites[sender] = reply.sums
            case Failure():
                raise ParticipantError(reply.reason)
            case _:
                raise ParticipantError(f"it answered an evaluation request with {type(reply).__name__}")

    left_out = yield from phase(dict.fromkeys(cohort, request), accept)
    return CollectedEvaluation(union, sites, left_out, payload_bytes(request) * len(cohort), received_bytes)
