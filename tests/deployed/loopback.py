"""Organisations of one process: everything of a run between organisations but the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from foedus.config.participant import Home, ParticipantRun
from foedus.config.sections import ParticipantFile
from foedus.core.errors import ForgottenError
from foedus.engines.codec.messages import decode_question, encode_answer
from foedus.engines.codec.tensors import Limits, Piece
from foedus.engines.link.courier import Courier, LinkLost, Patience
from foedus.engines.link.frames import Header
from foedus.engines.link.mailbox import Mailbox
from foedus.federation.messages import ParticipantId
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import Pins, pin
from foedus.privacy.signing.statements import COORDINATOR

ONE_AT_A_TIME = Lock()  # torch's randomness is the process' own
QUICK = Patience(lost=2.0, still=60.0, least=60.0)


class Direct:
    """A carrier to mailboxes in this process. cut: those that nothing gets through to."""

    def __init__(self, mailboxes: Mapping[ParticipantId, Mailbox]) -> None:
        self.mailboxes = dict(mailboxes)
        self.cut: set[ParticipantId] = set()

    def call(
        self, name: ParticipantId, header: Header, body: list[memoryview], timeout_s: float
    ) -> tuple[Header, bytearray]:
        if name in self.cut or name not in self.mailboxes:
            raise LinkLost("is not connected")
        answer, content = self.mailboxes[name].handle(header, bytearray(b"".join(body)))
        return answer, bytearray(b"".join(content))


class Organisation:
    """What answers at one organisation, in this process and without a network."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.runs: dict[str, ParticipantRun] = {}
        self.mailbox = Mailbox(self._work, largest=1 << 30)
        self.mailbox.start()

    def _work(self, run: str, kind: str, data: bytearray, mark: object) -> list[Piece]:
        if kind == "begin":
            self.runs.setdefault(run, ParticipantRun(self.home))
        if (playing := self.runs.get(run)) is None:
            raise ForgottenError("it was not told which run this is")
        with ONE_AT_A_TIME:
            return encode_answer(playing.answer(decode_question(data, Limits())))

    def restart(self) -> None:
        """Forget everything that is not on disk."""
        self.runs = {}


def keys_of(names: list[str]) -> tuple[Mapping[str, Identity], Pins]:
    identities = {name: Identity.create() for name in names}
    pins: Pins = {}
    for name, identity in identities.items():
        pins = pin(pins, name, identity.public)
    return identities, pins


def organisations(
    folder: Path, data: Mapping[str, Mapping[str, Any]], *, coordinator: Identity | None = None, **allow: Any
) -> tuple[Mapping[str, Organisation], Pins]:
    """Return organisations with these data, by name, and everybody's pinned keys."""
    identities, pins = keys_of(list(data))
    if coordinator is not None:
        pins = pin(pins, COORDINATOR, coordinator.public)
    made = {}
    for name, own in data.items():
        shown = {"plain_sums": True, "own_figures": True, "tell_labels": True, "min_cohort": 2}
        allowed = {"runs": ["*"], "models": [], **shown, **allow}
        file = ParticipantFile.model_validate({"data": own, "allow": allowed, "device": "cpu"}).rooted(folder)
        made[name] = Organisation(Home(name, file, folder / "homes" / name, identities[name], pins))
    return made, pins


def courier(made: Mapping[str, Organisation], patience: Patience = QUICK) -> tuple[Courier, Direct]:
    carrier = Direct({name: each.mailbox for name, each in made.items()})
    return Courier(carrier, patience), carrier
