"""What a guard over privacy is promised: it is asked before anything happens, and a refusal ends the run in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from foedus.core.errors import BudgetError
from foedus.federation.events import Event
from foedus.federation.loop import Ending, run_rounds, start_or_resume
from foedus.federation.messages import ParticipantId, Train
from foedus.federation.protocols import ServerState
from foedus.federation.round import Federation, play_round
from foedus.federation.run_folder import RunFolder, opened, refuse_or_clear
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import QuadraticTask, federation, point


@dataclass
class Allowance:
    """Allows so many rounds, and writes down what it is told."""

    rounds: int
    told: list[Any] = field(default_factory=list)

    def reserve(self, round_number: int, requests: Mapping[ParticipantId, Train]) -> None:
        if round_number > self.rounds:
            raise BudgetError(f"only {self.rounds} rounds are allowed")
        self.told.append(("reserve", round_number, tuple(requests), requests["a"].broadcast.clock.round))

    def settle(self, round_number: int, asked: Collection[ParticipantId], answered: Collection[ParticipantId]) -> None:
        self.told.append(("settle", round_number, tuple(asked), tuple(answered)))

    def record(self, round_number: int) -> Mapping[str, Any]:
        return {"epsilon": 0.5 * round_number}

    def finish(self) -> None:
        self.told.append("finish")


@dataclass(frozen=True)
class Watched(QuadraticTask):
    """Tells, among what the guard is told, when it trains."""

    told: list[Any] = field(default_factory=list)
    breaks: bool = False

    def train(self, *args: Any, **kwargs: Any) -> Any:
        self.told.append("train")
        if self.breaks:
            raise ValueError
        return super().train(*args, **kwargs)


def guarded(guard: Allowance, rounds: int = 4) -> Federation:
    tasks = {
        "a": Watched(1.0, 0.0, [0.1], told=guard.told),
        "b": Watched(1.0, 0.0, [0.1], told=guard.told, breaks=True),
    }
    return replace(federation(fedavg(), tasks, rounds=rounds), guard=guard)


def played_in(folder: RunFolder, federation: Federation, events: list[Event] | None = None) -> Ending:
    folder.path.mkdir(parents=True, exist_ok=True)
    state = start_or_resume(federation, ServerState(0, point(1.0)), folder, "digest")
    return run_rounds(
        federation,
        state,
        folder,
        config_digest="digest",
        keep_checkpoints=1,
        observe=(events if events is not None else []).append,
    )


def test_a_round_is_reserved_before_anybody_trains_and_settled_after() -> None:
    guard = Allowance(4)
    _, report = play_round(guarded(guard), ServerState(2, point(1.0)))
    assert guard.told == [
        ("reserve", 3, ("a", "b"), 2),
        "train",
        "train",
        ("settle", 3, ("a", "b"), ("a",)),
    ]
    assert report.privacy == {"epsilon": 1.5}


def test_a_refused_round_is_not_played_recorded_or_announced_and_the_state_before_it_is_kept(tmp_path: Path) -> None:
    folder, events = RunFolder(tmp_path / "run"), list[Event]()
    guard = Allowance(2)
    ending = played_in(folder, guarded(guard), events)
    assert (ending.state.round, ending.stopped) == (2, "only 2 rounds are allowed")
    assert [(record["round"], record.get("privacy")) for record in folder.records()] == [
        (0, None),
        (1, {"epsilon": 0.5}),
        (2, {"epsilon": 1.0}),
    ]
    assert sum(type(event).__name__ == "RoundStarted" for event in events) == 2
    assert guard.told[-1] == "finish"

    again = played_in(folder, guarded(Allowance(3)))  # somebody allowed one more
    assert (again.state.round, again.stopped) == (3, "only 3 rounds are allowed")
    whole = played_in(folder, guarded(Allowance(9)))
    assert (whole.state.round, whole.stopped) == (4, None)


def test_a_run_of_which_no_round_is_allowed_fails(tmp_path: Path) -> None:
    with pytest.raises(BudgetError):
        played_in(RunFolder(tmp_path / "run"), guarded(Allowance(0)))


def test_a_run_in_the_place_of_another_is_another_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with opened(folder):
        folder.identity.write_text("first")
        folder.outbox.mkdir()
        folder.write(folder.config, "{}")
        refuse_or_clear(folder, overwrite=True)
        assert not folder.identity.exists()
        assert not folder.outbox.exists()
        folder.identity.write_text("of a run that was refused")
        refuse_or_clear(folder, overwrite=False)
        assert not folder.identity.exists()
