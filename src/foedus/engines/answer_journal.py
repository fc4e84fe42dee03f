"""What participants have answered in secure sums, on disk before the answer leaves, so that no crash forgets it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from foedus.core.durable import sync
from foedus.core.errors import RunFolderError, SecureSumError
from foedus.privacy.secure_sum.participant import ANSWERED_BEFORE


class AnswerJournal:
    """One participant's file of names and values, one line each time; a name is written once and never again.

    Calling it writes, and returns when the disk has it. That holds for several processes with one file, too.
    Raises: RunFolderError if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: set[str] = set()
        self._known = 0  # bytes of the file whose names were read

    def __call__(self, entries: Mapping[str, bytes]) -> None:
        """Write all entries, or none.

        Raises: SecureSumError if one of the names stands there already.
        """
        line = json.dumps({name: value.hex() for name, value in entries.items()}) + "\n"
        with self._opened() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._learn(file)
            self._refuse_known(entries)
            file.truncate(self._known)  # a last line that a crash cut short was never answered on
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
            self._learn(file)

    def refuse(self, names: Collection[str]) -> None:
        """Return if none of these names stands here.

        Raises: SecureSumError if one of them does.
        """
        if self._path.exists():
            with self._path.open("rb") as file:
                self._learn(file)
        self._refuse_known(names)

    def _refuse_known(self, names: Collection[str]) -> None:
        if not self._names.isdisjoint(names):
            raise SecureSumError(ANSWERED_BEFORE)

    def _opened(self) -> BinaryIO:
        """Return the file, to read and add to; a new one is in its folder on disk, too."""
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
            sync(self._path.parent)
            sync(self._path.parent.parent)
        return self._path.open("a+b")

    def _learn(self, file: BinaryIO) -> None:
        """Take note of every name in whole lines that were written since."""
        shorter = file.seek(0, os.SEEK_END) < self._known
        file.seek(self._known)
        whole, newline, _ = file.read().rpartition(b"\n")
        try:
            self._names |= {name for line in whole.split(b"\n") if line for name in json.loads(line)}
        except ValueError as error:
            raise self._damaged() from error
        if shorter:
            raise self._damaged()
        self._known += len(whole) + len(newline)

    def _damaged(self) -> RunFolderError:
        return RunFolderError(f"{self._path} cannot be read; it is damaged, so nothing more is answered")
