"""How many steps a participant makes in a round, where that follows from its speed.

Participants of different speed that train for the same time make different numbers of steps. A round's number is
fixed at its start, from the speed in earlier rounds, and not by a clock that runs along: so a round that is played
again, because the first time was interrupted, makes the same steps again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Sums
from foedus.federation.protocols import Algorithm, Correction, LocalResult, LocalTask, Memory

SPEED = "speed"


class Pace(Protocol):
    """How many steps a participant makes in a round. Speeds are in optimizer steps a second."""

    def steps(self, round_index: int, speed: float | None) -> int:
        """Return the steps of a round, counted from 0; speed: what `speed_after` returned last."""
        ...

    def time(self) -> float:
        """Return seconds since a moment in the past."""
        ...

    def speed_after(self, steps: int, seconds: float, speed: float | None) -> float | None:
        """Return what to go by in the next round, after one of so many steps; None if nothing is to be kept."""
        ...


@dataclass(frozen=True)
class Measured:
    """As many steps as fit into `seconds` at the speed of earlier rounds, and at least one.

    first_steps: those of a round before which nothing was measured.
    The speed is that of a mean step: of the last round's with half the weight, the one before's with a quarter, …
    """

    seconds: float
    first_steps: int
    clock: Callable[[], float] = time.perf_counter

    def steps(self, round_index: int, speed: float | None) -> int:
        """Return the steps that fit.

        >>> [Measured(10, first_steps=4).steps(0, speed) for speed in (None, 0.01, 2.55)]
        [4, 1, 25]
        """
        return self.first_steps if speed is None else steps_within(self.seconds, speed)

    def time(self) -> float:
        """Return the clock's time."""
        return self.clock()

    def speed_after(self, steps: int, seconds: float, speed: float | None) -> float:
        """Return the new speed.

        >>> Measured(10, first_steps=4).speed_after(steps=20, seconds=10, speed=4.0)  # 0.5 s and 0.25 s a step
        2.6666666666666665
        """
        duration = max(seconds, 1e-9) / steps
        return 1 / (duration if speed is None else (duration + 1 / speed) / 2)


@dataclass(frozen=True)
class Assumed:
    """As many steps as fit into `seconds` at a given speed: participants that differ, on one machine."""

    seconds: float
    speed: float

    def steps(self, round_index: int, speed: float | None) -> int:
        """Return the steps that fit."""
        return steps_within(self.seconds, self.speed)

    def time(self) -> float:
        """Return 0: nothing is measured."""
        return 0.0

    def speed_after(self, steps: int, seconds: float, speed: float | None) -> None:
        """Return None."""
        return


@dataclass(frozen=True)
class Recorded:
    """The steps that another run's record has, by round from 0."""

    by_round: Mapping[int, int]

    def steps(self, round_index: int, speed: float | None) -> int:
        """Return the recorded number.

        Raises: ParticipantError if the record has none, as of a round in which the participant was left out.
        """
        if round_index not in self.by_round:
            raise ParticipantError(f"the record that local.replay names has no steps of its round {round_index + 1}")
        return self.by_round[round_index]

    def time(self) -> float:
        """Return 0: nothing is measured."""
        return 0.0

    def speed_after(self, steps: int, seconds: float, speed: float | None) -> None:
        """Return None."""
        return


def steps_within(seconds: float, speed: float) -> int:
    """Return the whole steps that fit into so many seconds, and at least 1; a product like 2.9999999999 is 3."""
    return max(1, math.floor(seconds * speed + 1e-9))


def paced(algorithm: Algorithm) -> Algorithm:
    """Return the strategy with each participant's speed kept in its memory between rounds."""

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        rest = {name: tree for name, tree in memory.items() if name != SPEED}
        kept: dict[str, ParamTree] = {}
        known = float(memory[SPEED]["value"]) if SPEED in memory else None

        def remember(speed: float) -> None:
            kept[SPEED] = {"value": torch.tensor(speed, dtype=torch.float64)}

        update, after = algorithm.local(_AtSpeed(task, known, remember), broadcast, rest)
        return update, {**after, **kept}

    return replace(algorithm, local=local)


@dataclass(frozen=True)
class _AtSpeed:
    """A participant's task that knows how fast it was, and tells how fast it is."""

    task: LocalTask
    known: float | None
    remember: Callable[[float], None]

    def train(
        self,
        start: ParamTree,
        clock: Clock,
        correction: Correction | None = None,
        optimizer: ParamTree | None = None,
        **options: Any,
    ) -> LocalResult:
        result = self.task.train(start, clock, correction, optimizer, **options, speed=self.known)
        if result.speed is not None:
            self.remember(result.speed)
        return result

    def gradient(self, params: ParamTree) -> ParamTree:
        return self.task.gradient(params)

    def evaluate(self, params: ParamTree, split: str) -> Sums:
        return self.task.evaluate(params, split)
