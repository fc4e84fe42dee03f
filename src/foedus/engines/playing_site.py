"""A participant that is playing a run between organisations: it answers requests, and keeps what it remembers on disk.

Memories lie under the numbers of the rounds after which they stood, so that a coordinator which goes on from a
checkpoint can call everybody back to the same round. What training leaves is on disk before its answer leaves, too: a
process that ends before the round is over would otherwise forget what counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foedus.core.durable import sync
from foedus.core.errors import MessageError, RunFolderError
from foedus.engines.codec.messages import Answer, Question
from foedus.engines.site import Site
from foedus.federation.checkpoints import load_trees, save_trees
from foedus.federation.membership import Agree, Begin, Finish, Recall, Settle, TellCost, Told
from foedus.federation.messages import SecureSumStep, Train
from foedus.federation.protocols import Memory
from foedus.privacy.signing.envelopes import Attest, GiveReceipts, GoBack, OpenLog, SignedRequest

_MEMORY = re.compile(r"round-(\d{5,})\.safetensors")


class PlayingSite:
    """A site and its memories, in a folder.

    keep: how many rounds one may have to go back. settled: is told that a round is over.
    cost: returns what others may know of the privacy that the run cost. finished: is told that the run is over.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        keep: int,
        *,
        settled: Callable[[int], None] = lambda number: None,
        cost: Callable[[], Mapping[str, Any]] = dict,
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        self._site = site
        self._folder = folder
        self._keep = keep
        self._settled = settled
        self._cost = cost
        self._finished = finished
        site.recall(self._recalled(None))

    def answer(self, question: Question) -> Answer:
        """Return the answer to a request, or to a notice about a round.

        Raises: RunFolderError if a memory cannot be read or written; MessageError for what begins a run.
        """
        match question:
            case Begin() | Agree():
                raise MessageError("it was told anew what the run is about, while it plays")
            case Settle():
                return self._settle(question)
            case Recall():
                self._site.recall(self._recalled(question.round))
                self._forget_unsettled()
                return Told()
            case TellCost():
                return Told(self._cost())
            case Finish():
                self._finished()
                return Told()
            case SignedRequest() | OpenLog() | GiveReceipts() | GoBack() | Attest():
                raise MessageError("what is signed is not checked here")
            case _:
                answer = self._site.answer(question)
                number, left = _trained_in(question), self._site.unsettled
                if number is not None and left is not None:
                    self._write(self._unsettled(number), left)  # this process may end before it is settled
                return answer

    def _settle(self, message: Settle) -> Told:
        unsettled = self._unsettled(message.round)
        is_of_another = self._site.unsettled is None and unsettled.exists()
        self._site.settle(counted=message.counted, left=load_trees(unsettled) if is_of_another else None)
        if self._site.memory or self._memories():  # to forget is to remember nothing, from this round on
            self._write(self._folder / f"round-{message.round:05d}.safetensors", self._site.memory)
        self._forget_unsettled()
        for number, old in self._memories()[:-1]:
            if number < message.round - self._keep:
                old.unlink()
        self._settled(message.round)
        return Told()

    def _unsettled(self, number: int) -> Path:
        return self._folder / f"unsettled-{number:05d}.safetensors"

    def _forget_unsettled(self) -> None:
        for path in self._folder.glob("unsettled-*"):
            path.unlink()

    def _write(self, path: Path, memory: Memory) -> None:
        """Write a memory, whole or not at all."""
        draft = path.with_suffix(".part")
        try:
            save_trees(draft, memory)
            draft.replace(path)
            sync(path.parent)
        except OSError as error:
            raise RunFolderError(f"what it remembers cannot be written: {error.strerror}") from error

    def _recalled(self, number: int | None) -> Memory:
        """Return what was remembered after that round, or the last one before it; the newest, if None.

        What came later is forgotten.
        """
        kept: Path | None = None
        for at, path in self._memories():
            if number is None or at <= number:
                kept = path
            else:
                path.unlink()
        return {} if kept is None else load_trees(kept)

    def _memories(self) -> list[tuple[int, Path]]:
        """Return the memories, oldest first."""
        found = [(_MEMORY.fullmatch(path.name), path) for path in self._folder.glob("*")]
        return sorted((int(match[1]), path) for match, path in found if match is not None)


def _trained_in(question: Question) -> int | None:
    """Return the round, counted from 1, that a question asks to train in; None if it does not."""
    train = question.of if isinstance(question, SecureSumStep) else question
    return train.broadcast.clock.round + 1 if isinstance(train, Train) else None
