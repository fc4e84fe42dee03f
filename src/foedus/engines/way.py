"""The way to participants on other machines: bytes there, bytes back, and nothing raised."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # torch is not for processes that only carry bytes
    from foedus.federation.messages import ParticipantId


Pieces = Sequence[bytes | bytearray | memoryview]


@dataclass(frozen=True)
class Letter:
    """A message to one participant. kind: what is asked, for deadlines and the participant's rules.

    most: the bytes that an answer may have; nothing is set aside for a longer one.
    """

    run: str
    kind: str
    content: Pieces
    most: int = 1 << 36


@dataclass(frozen=True)
class Silence:
    """Nothing came back. reason: fit for a record. reached: whether the participant was there to say so itself.

    forgot: whether it was started again, and has to be told anew what the run is.
    """

    reason: str
    reached: bool = False
    forgot: bool = False


class Way(Protocol):
    """How letters get to participants."""

    def ask(self, letters: Mapping[ParticipantId, Letter]) -> Iterator[tuple[ParticipantId, bytearray | Silence]]:
        """Send all letters at once and yield one answer to each as they come."""
        ...

    def reachable(self, names: Collection[ParticipantId]) -> Collection[ParticipantId]:
        """Return those who can be reached now and are not busy."""
        ...
