"""What a run between organisations is doing now: a small file that is there whole or as it was.

The coordinator writes it, and whoever watches reads it. It holds what participants agreed to show and nothing else;
what must outlast the run stands in its records.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Literal, get_args

from foedus.core.errors import RunFolderError
from foedus.federation.events import Event, ParticipantReported, RoundEnded, RoundStarted, RunEnded, RunStarted

STATE = "state.json"
FORMAT = "foedus state 1"
MAX_REFUSALS = 200
MAX_REASON = 500
WRITTEN_EVERY_S = 0.25

Standing = Literal["waiting", "working", "done", "missing", "refused"]
Phase = Literal["waiting", "alone", "train", "evaluate", "ended", "stopped"]


@dataclass(frozen=True)
class Member:
    """A participant as the coordinator sees it.

    seen: when it last answered, ISO 8601; None if it never did. counts: what it agreed to show.
    """

    standing: Standing = "waiting"
    seen: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Somebody did not do what was asked, and said why."""

    at: str
    participant: str
    reason: str


@dataclass(frozen=True)
class RunState:
    """What the file holds. round: the present one, counted from 1. note: why it waits, or how it ended."""

    run: str = ""
    rounds: int = 0
    round: int = 0
    phase: Phase = "waiting"
    since: str = ""
    updated: str = ""
    headline: str = ""
    higher_is_better: bool = True
    note: str = ""
    members: Mapping[str, Member] = field(default_factory=dict)
    refusals: Sequence[Refusal] = ()


class StateFile:
    """Keeps a run's state and writes it down: at once when a phase changes, and otherwise a few times a second.

    It is an observer of the run. Its methods may be called from any thread.
    now: the time, seconds since 1970.
    """

    def __init__(
        self, folder: Path, run: str, members: Sequence[str] = (), now: Callable[[], float] = time.time
    ) -> None:
        self._path = folder / STATE
        self._now = now
        self._lock = Lock()
        self._written_at = 0.0
        self._due: Timer | None = None
        self._state = RunState(run=run, since=self._time(), members={name: Member() for name in members})
        self._put(self._state)

    @property
    def state(self) -> RunState:
        """The state as it is now."""
        return self._state

    def __call__(self, event: Event) -> None:
        """Note an event of the run."""
        state = self._state
        match event:
            case RunStarted():
                members = {name: state.members.get(name, Member()) for name in event.participants}
                self._enter(
                    "waiting",
                    rounds=event.rounds,
                    round=event.first_round,
                    headline=event.headline,
                    higher_is_better=event.higher_is_better,
                    members=members,
                )
            case RoundStarted():
                asked = {name: replace(state.members.get(name, Member()), standing="working") for name in event.cohort}
                self._enter("train", round=event.round, members={**state.members, **asked})
            case ParticipantReported():
                self._reported(event)
            case RoundEnded(record):
                for name, reason in {**record.get("left_out", {})}.items():
                    self.refused(name, str(reason), standing="missing")
                self._enter("waiting")
            case RunEnded():
                self._enter("ended", note=str(event.summary.get("stopped") or ""))

    def seen(self, name: str, counts: Mapping[str, int] | None = None) -> None:
        """A participant answered. counts: those of its figures that it agreed to show."""
        given = {} if counts is None else {key: int(value) for key, value in counts.items()}
        self._member(name, seen=self._time(), standing="waiting", **({"counts": given} if given else {}))

    def missing(self, name: str, reason: str) -> None:
        """A participant did not answer in time, or is not there."""
        self.refused(name, reason, standing="missing")

    def refused(self, name: str, reason: str, *, standing: Standing = "refused") -> None:
        """A participant said no, or could not."""
        refusal = Refusal(self._time(), name, reason[:MAX_REASON])
        with self._lock:
            kept = (*self._state.refusals, refusal)[-MAX_REFUSALS:]
            members = {**self._state.members, name: replace(self._of(name), standing=standing)}
            self._put(replace(self._state, refusals=kept, members=members))

    def waits(self, note: str) -> None:
        """The run waits, and for what."""
        self._enter("waiting", note=note)

    def stopped(self, note: str) -> None:
        """The run came to an end before its last round."""
        self._enter("stopped", note=note)

    def _reported(self, event: ParticipantReported) -> None:
        if event.phase != self._state.phase:
            self._enter(event.phase)
        if event.failure is not None:
            self.refused(event.participant, event.failure, standing="missing")
            return
        self._member(event.participant, standing="done", seen=self._time())

    def _member(self, name: str, **changes: Any) -> None:
        with self._lock:
            members = {**self._state.members, name: replace(self._of(name), **changes)}
            self._state = replace(self._state, members=members)
            if self._now() - self._written_at >= WRITTEN_EVERY_S:
                self._put(self._state)
            elif self._due is None:
                self._due = Timer(WRITTEN_EVERY_S, self._catch_up)
                self._due.daemon = True
                self._due.start()

    def _catch_up(self) -> None:
        with self._lock:
            if self._due is not None:
                self._put(self._state)

    def _enter(self, phase: Phase, **changes: Any) -> None:
        with self._lock:
            self._put(replace(self._state, phase=phase, since=self._time(), **{"note": "", **changes}))

    def _of(self, name: str) -> Member:
        return self._state.members.get(name, Member())

    def _time(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds")

    def _put(self, state: RunState) -> None:
        """Write the state. A full disk costs the page its freshness, not the run its round."""
        self._state = replace(state, updated=self._time())
        self._written_at = self._now()
        if self._due is not None:
            self._due.cancel()
            self._due = None
        draft = self._path.with_name(f".{STATE}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"format": FORMAT, **asdict(self._state)}), encoding="utf-8")
            draft.replace(self._path)
        except OSError:
            with suppress(OSError):
                draft.unlink()


def read_state(folder: Path) -> RunState:
    """Return what the state file of a run's folder says.

    Raises: RunFolderError if there is none, or it is damaged.
    """
    path = folder / STATE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}; has the run begun?") from error
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged: it is not valid JSON") from error
    try:
        if value.pop("format") != FORMAT or value["phase"] not in get_args(Phase):
            raise ValueError(f"format {FORMAT} is known")
        members = {name: Member(**member) for name, member in value.pop("members").items()}
        refusals = tuple(Refusal(**refusal) for refusal in value.pop("refusals"))
        return RunState(**value, members=members, refusals=refusals)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path} is damaged, or of another version of foedus") from error
