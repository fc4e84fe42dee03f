"""What a run tells those who watch it, while it works.

Observers are called in the order of events, from the thread of the loop. They only look: nothing
that they return or change reaches the run, and what must outlast the run stands in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Phase = Literal["alone", "train", "evaluate"]  # alone: what each participant trains beside the run


@dataclass(frozen=True)
class RunStarted:
    """The run is set up and its first round is about to start.

    participants: the whole population. rounds: how many the run has in all.
    first_round: 1 for a fresh run; after a resume, the round that it goes on with.
    headline: the metric shown first. parameters_sent: what one participant sends in a round.
    """

    name: str
    participants: Sequence[str]
    rounds: int
    first_round: int
    headline: str
    higher_is_better: bool
    parameters_sent: int
    device: str


@dataclass(frozen=True)
class RoundStarted:
    """A round's cohort is chosen. round: counted from 1; the evaluation before training has no such event."""

    round: int
    cohort: Sequence[str]


@dataclass(frozen=True)
class ParticipantReported:
    """One participant is done with a phase of the round.

    loss: its mean loss in this phase; None where per-site metrics must not be shown, or it failed.
    seconds: since its work in this phase started; None where per-site metrics must not be shown.
    failure: why it could not do it, or None; an update that came and cannot be used is named in the round's record.
    """

    round: int
    participant: str
    phase: Phase
    loss: float | None
    seconds: float | None
    failure: str | None = None


@dataclass(frozen=True)
class RoundEnded:
    """A round is over and recorded. record: its line of rounds.jsonl."""

    record: Mapping[str, Any]


@dataclass(frozen=True)
class RunEnded:
    """The run is over and its files are written.

    folder: the run folder. model, report: where these lie, or None if they were not written.
    summary: what summary.json holds.
    """

    folder: Path
    model: Path | None
    report: Path | None
    summary: Mapping[str, Any]


Event = RunStarted | RoundStarted | ParticipantReported | RoundEnded | RunEnded
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Observe nothing."""


def to_all(*observers: Observer) -> Observer:
    """Return an observer that tells each of these, in this order."""

    def observe(event: Event) -> None:
        for observer in observers:
            observer(event)

    return observe
