"""A participant's own process: it takes messages at its door and has a trainer do the work of each run.

It imports neither torch nor transformers: it stays small, and lives on when the trainer does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foedus.core.errors import ForgottenError, ParticipantError
from foedus.engines.child import Child

TRAINER = "foedus.api.trainer"
RUNS = 8  # whose beginnings are kept, to start a trainer again
_SETUP = ("begin", "agree", "open")
_HARMLESS = (*_SETUP, "notice", "reckon", "finish")  # to do once more, should the trainer have ended over it


@dataclass(frozen=True)
class _Refusal:
    """The own file, as it was at that time, does not allow a run. told: the answer to each message."""

    file: object
    told: Mapping[str, tuple[bytearray, bytearray]]


@dataclass
class _Run:
    """A run as the participant's process knows it.

    setup: the messages by which a trainer comes to know it. told: them and their answers.
    """

    setup: dict[str, bytearray] = field(default_factory=dict)
    told: dict[str, tuple[bytearray, bytearray]] = field(default_factory=dict)
    refusal: _Refusal | None = None


@dataclass(frozen=True)
class Place:
    """Where a participant's things are: its file, what runs leave with it, its keys, and its trainers' log."""

    name: str
    file: Path
    folder: Path
    keys: Path | None
    log: Path


class Trainers:
    """Does what messages ask, in one trainer at a time: that of the run which asked last.

    A run that its file does not allow is refused again without a trainer, until the file changes.
    largest: the most bytes of a message, either way. tell: is told in a sentence what happens, for the log.
    """

    def __init__(self, place: Place, largest: int, tell: Callable[[str], None] = lambda text: None) -> None:
        self._place = place
        self._largest = largest
        self._tell = tell
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._child: Child | None = None
        self._playing: str | None = None
        self._file: object = None  # as it was when the trainer read it

    @property
    def pid(self) -> int | None:
        """The process number of the trainer, if one runs."""
        return self._child.pid if self._child is not None and self._child.is_alive() else None

    def work(self, run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> list[bytearray]:
        """Return a trainer's answer to a message.

        Raises: ParticipantError if the trainer ends instead, over what begins or ends things a second time;
            ForgottenError for a run that did not begin here.
        """
        if kind == "begin":
            self._runs.setdefault(run, _Run())
            self._runs.move_to_end(run)
            while len(self._runs) > RUNS:
                self._runs.popitem(last=False)
        if run not in self._runs:
            raise ForgottenError("it was not told which run this is")
        if (refused := self._refused(self._runs[run], kind, data)) is not None:
            return [refused]
        try:
            answer = self._ask(run, kind, data, mark)
        except ParticipantError as error:
            self._tell(str(error))
            if kind not in _HARMLESS:
                raise
            answer = self._ask(run, kind, data, mark)
        if kind in _SETUP:
            self._remember(run, kind, data, answer)
        if kind == "finish" or (self._child is not None and self._child.has_refused):
            self.stop()
        return [answer]

    def _remember(self, name: str, kind: str, data: bytearray, answer: bytearray) -> None:
        """Keep a message that begins a run, for the next trainer; and that it is refused, if it is."""
        run = self._runs[name]
        assert self._child is not None, "it has just answered"
        before = _SETUP[: _SETUP.index(kind)]
        told = {**{known: run.told[known] for known in before if known in run.told}, kind: (data, answer)}
        if self._child.has_refused:
            run.refusal = _Refusal(self._file, told)
            self._tell(
                f"refuses run {name[:8]}: {self._place.log} says why; it stays so until {self._place.file} changes"
            )
        else:
            run.setup[kind], run.told, run.refusal = data, told, None

    def _refused(self, run: _Run, kind: str, data: bytearray) -> bytearray | None:
        """Return what was answered to a message of a run that is refused; None if the file may allow it now."""
        refusal = run.refusal
        if refusal is None or kind not in refusal.told or refusal.file != _stamp(self._place.file):
            return None
        asked, answer = refusal.told[kind]
        return answer if asked == data else None

    def stop(self) -> None:
        """End the trainer, if one runs."""
        if self._child is not None:
            self._child.stop()
        self._child = self._playing = None

    def _ask(self, run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> bytearray:
        child = self._trainer(run, kind, mark)
        self._tell(f"{kind} for run {run[:8]}")
        return child.ask(kind, [data], mark)

    def _trainer(self, run: str, kind: str, mark: Callable[[], None]) -> Child:
        """Return the run's trainer, started and told what it has to know."""
        if self._playing == run and self._child is not None and self._child.is_alive():
            return self._child
        self.stop()
        place = self._place
        facts = {
            "name": place.name,
            "file": str(place.file),
            "folder": str(place.folder),
            "keys": str(place.keys) if place.keys else None,
        }
        self._tell(f"starts a trainer for run {run[:8]}")
        self._file = _stamp(place.file)
        self._child, self._playing = Child(TRAINER, facts, place.log, self._largest), run
        for known in _SETUP:
            if known == kind:
                break
            if known in self._runs[run].setup:
                self._child.ask(known, [self._runs[run].setup[known]], mark)
        return self._child


def _stamp(file: Path) -> object:
    """Return what changes when a file does; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
