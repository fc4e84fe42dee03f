"""Participants whose loss is a parabola, so that every strategy's fixed point is known in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foedus.core import trees
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.messages import Clock, Sums
from foedus.federation.protocols import (
    Aggregate,
    Algorithm,
    Correction,
    Intervention,
    LocalResult,
    LocalTask,
    ServerState,
)
from foedus.federation.round import Federation, RoundPlan, play_round
from foedus.federation.sampling import Everyone, Sampler


@dataclass(frozen=True)
class QuadraticTask:
    """f(x) = curvature / 2 * |x - centre|^2 by gradient steps, over all tensors of the tree.

    step_sizes: one a step. momentum: heavy-ball. exact: go to the corrected loss' minimum at once.
    """

    curvature: float
    centre: float
    step_sizes: Sequence[float]
    momentum: float = 0.0
    weight: float = 1.0
    exact: bool = False
    keep_optimizer: bool = False

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
        correction = correction or Correction()
        velocity = optimizer or trees.zeros_like(start)
        params = start
        pending = dict(interventions or {})
        for index, step_size in enumerate(() if self.exact else self.step_sizes):
            if index in pending:
                params = {**params, **pending.pop(index)(params)}
            params, velocity = self._step(params, velocity, step_size, correction, start)
        if self.exact:
            params = self._minimum(correction, start)
        for index in sorted(pending):
            params = {**params, **pending[index](params)}
        kept = velocity if self.keep_optimizer else None
        counts = {"steps": len(self.step_sizes), "tokens": 10 * len(self.step_sizes)}
        return LocalResult(trees.clone(params), self.weight, self.step_sizes, {"loss": self.loss(params)}, kept, counts)

    def _step(
        self, params: ParamTree, velocity: ParamTree, step_size: float, correction: Correction, anchor: ParamTree
    ) -> tuple[ParamTree, ParamTree]:
        gradient = self.gradient(params)
        pull = trees.scale(trees.subtract(params, anchor), correction.strength)
        if correction.offset is not None:
            gradient = trees.add(gradient, correction.offset)
        if not correction.decoupled:
            gradient = trees.add(gradient, pull)
        velocity = trees.add_scaled(gradient, velocity, self.momentum)
        moved = trees.add_scaled(params, velocity, -step_size)
        return (trees.add_scaled(moved, pull, -step_size) if correction.decoupled else moved), velocity

    def _minimum(self, correction: Correction, anchor: ParamTree) -> ParamTree:
        """Return the point where curvature (x - centre) + offset + strength (x - anchor) = 0."""
        offset = correction.offset or trees.zeros_like(anchor)
        strength = correction.strength
        return trees.zip_with(
            lambda o, a: (self.curvature * self.centre - o + strength * a) / (self.curvature + strength), offset, anchor
        )

    def gradient(self, params: ParamTree) -> ParamTree:
        return {name: self.curvature * (tensor - self.centre) for name, tensor in params.items()}

    def evaluate(self, params: ParamTree, split: str) -> Sums:
        return statistics(loss=self.loss(params), units=1.0)

    def loss(self, params: ParamTree) -> float:
        return sum(self.curvature / 2 * float(((t - self.centre) ** 2).sum()) for t in params.values())


def statistics(**values: float) -> dict[str, Tensor]:
    """Return statistics in float64."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def pair(steps: tuple[int, int] = (5, 5), step_size: float = 0.05, exact: bool = False) -> dict[str, QuadraticTask]:
    """Return two participants of curvatures 1 and 4 around 0 and 1; their mean loss is least at 0.8."""
    return {
        "flat": QuadraticTask(1.0, 0.0, [step_size] * steps[0], exact=exact),
        "steep": QuadraticTask(4.0, 1.0, [step_size] * steps[1], exact=exact),
    }


def point(*values: float) -> dict[str, Tensor]:
    """Return a tree of one float64 tensor."""
    return {"x": torch.tensor(values, dtype=torch.float64)}


def federation(
    algorithm: Algorithm,
    tasks: Mapping[str, LocalTask],
    *,
    rounds: int,
    sampler: Sampler | None = None,
    min_reports: int = 1,
) -> Federation:
    """Return a federation over the embedded engine that evaluates after its last round."""
    return Federation(
        algorithm=algorithm,
        engine=InProcessEngine(algorithm.local, tasks),
        sampler=sampler or Everyone(),
        plan=RoundPlan(rounds, min_reports=min_reports, evaluate_every=rounds),
        seed=SeedKey.from_seed(0),
        score=lambda sums: {"loss": float(sums["loss"] / sums["units"])},
    )


def played(
    algorithm: Algorithm,
    tasks: Mapping[str, LocalTask],
    *,
    rounds: int = 400,
    start: ParamTree | None = None,
    sampler: Sampler | None = None,
) -> ServerState:
    """Return the state after so many rounds from `start`, or from 0."""
    params = point(0.0) if start is None else start
    state = ServerState(0, params, algorithm.init(params))
    run = federation(algorithm, tasks, rounds=rounds, sampler=sampler)
    for _ in range(rounds):
        state, report = play_round(run, state)
        assert report.reason is None
        assert not report.collected.left_out
    return state


def place(state: ServerState) -> float:
    """Return where a state of one coordinate is."""
    return float(state.params["x"])


def aggregate_of(*deltas: float, weight: float = 1.0) -> Aggregate:
    """Return what participants of equal weight that sent these values add up to."""
    mean = sum(deltas) / len(deltas)
    return Aggregate(
        averaged={"delta": point(mean)},
        summed={},
        weight=weight * len(deltas),
        metrics={},
        reports=len(deltas),
        population=len(deltas),
    )
