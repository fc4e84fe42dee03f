"""What participants have answered in secure sums, on disk before the answer leaves, so that no crash forgets it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from foedus.core.errors import RunFolderError, SecureSumError
from foedus.privacy.secure_sum.participant import ANSWERED_BEFORE


class AnswerJournal:
    """One participant's file of names and values, one line each time; a name is written once and never again.

    Calling it writes, and returns when the disk has it.
    Raises: RunFolderError if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: set[str] | None = None

    def __call__(self, entries: Mapping[str, bytes]) -> None:
        """Write all entries, or none.

        Raises: SecureSumError if one of the names stands there already.
        """
        names = self.refuse(entries.keys())
        line = json.dumps({name: value.hex() for name, value in entries.items()})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        names.update(entries)

    def refuse(self, names: Collection[str]) -> set[str]:
        """Return all names that stand here, none of the given ones among them.

        Raises: SecureSumError if one of them stands here.
        """
        if self._names is None:
            self._names = self._read()
        if not self._names.isdisjoint(names):
            raise SecureSumError(ANSWERED_BEFORE)
        return self._names

    def _read(self) -> set[str]:
        """Return every name; a last line that a crash cut short was never answered on."""
        if not self._path.exists():
            return set()
        *whole, rest = self._path.read_text(encoding="utf-8").split("\n")
        try:
            names = {name for line in whole for name in json.loads(line)}
        except ValueError as error:
            raise RunFolderError(f"{self._path} cannot be read; it is damaged, so nothing more is answered") from error
        if rest:
            with self._path.open("a", encoding="utf-8") as file:
                file.truncate(len("\n".join([*whole, ""]).encode()))
        return names
