"""Remote engines for tests: participants that answer in this process, behind any carrier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from foedus.engines.codec.messages import decode_question, encode_answer
from foedus.engines.codec.tensors import Limits, Piece
from foedus.engines.link.courier import Carrier, Courier, Patience
from foedus.engines.link.frames import Header
from foedus.engines.link.mailbox import Mailbox
from foedus.engines.playing_site import PlayingSite
from foedus.engines.remote import RemoteEngine
from foedus.engines.site import Site
from foedus.federation.messages import ParticipantId
from foedus.federation.protocols import LocalRule, LocalTask

Answerer = Callable[[bytearray], Sequence[Piece]]


def answerer(site: PlayingSite) -> Answerer:
    """Return what takes a question's bytes to those of its answer."""
    return lambda data: encode_answer(site.answer(decode_question(data, Limits())))


def sites_of(local: LocalRule, tasks: Mapping[str, LocalTask], folder: Path) -> list[Answerer]:
    """Return what answers for each participant, in order; they keep their memories below the folder."""
    return [
        answerer(PlayingSite(Site(name, local, task), folder / str(number), keep=2))
        for number, (name, task) in enumerate(tasks.items())
    ]


class Switchboard:
    """Sites that each stand for several participants; which of them a message is for stands in place of its run."""

    def __init__(self, sites: int) -> None:
        self.answerers: Sequence[Answerer] = ()
        self.mailboxes = [Mailbox(self._work, largest=1 << 30) for _ in range(sites)]
        for mailbox in self.mailboxes:
            mailbox.start()

    def _work(self, run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> Sequence[Piece]:
        return self.answerers[int(run)](data)


class Numbered:
    """Carries what is for a participant to the site that stands for it."""

    def __init__(self, carrier: Carrier, names: Sequence[ParticipantId], sites: int) -> None:
        self._carrier = carrier
        self._numbers = {name: number for number, name in enumerate(names)}
        self._sites = sites

    def call(
        self, name: ParticipantId, header: Header, body: list[memoryview], timeout_s: float
    ) -> tuple[Header, bytearray]:
        number = self._numbers[name]
        return self._carrier.call(f"s{number % self._sites}", {**header, "run": str(number)}, body, timeout_s)


def remote_engine(
    carrier: Carrier, board: Switchboard, local: LocalRule, tasks: Mapping[str, LocalTask], folder: Path
) -> RemoteEngine:
    """Return an engine whose participants answer behind a carrier."""
    board.answerers = sites_of(local, tasks, folder)
    numbered = Numbered(carrier, list(tasks), len(board.mailboxes))
    return RemoteEngine(Courier(numbered, Patience(lost=60, still=60, least=60)), "0" * 32, list(tasks))
