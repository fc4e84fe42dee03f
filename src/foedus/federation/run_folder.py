"""A run's folder: one writer at a time, one line a round, files that are whole or absent."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foedus.core.durable import sync
from foedus.core.errors import RunFolderError

Record = Mapping[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder; other tools read these names, so they do not change."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def rounds(self) -> Path:
        """One JSON object a round."""
        return self.path / "rounds.jsonl"

    @property
    def summary(self) -> Path:
        """The final figures."""
        return self.path / "summary.json"

    @property
    def model(self) -> Path:
        """The model, an ordinary Hugging Face folder."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """What a resumed run starts from."""
        return self.path / "checkpoints"

    @property
    def identity(self) -> Path:
        """The id that the run's privacy spends stand under; hidden, for a refused run may leave it."""
        return self.path / ".run-id"

    @property
    def outbox(self) -> Path:
        """Participants' finished replies, while a round that they belong to may be redone."""
        return self.path / "outbox"

    def records(self) -> list[Record]:
        """Return the rounds recorded so far; a line that a crash cut short is not one."""
        if not self.rounds.exists():
            return []
        *whole, _ = self.rounds.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in whole]

    def append(self, record: Record) -> int:
        """Add a round's record and return the file's size after it, in bytes."""
        with self.rounds.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def truncate_records(self, size: int) -> None:
        """Forget the records of rounds after the one that a checkpoint was written for.

        Raises: RunFolderError if there are fewer than at that time.
        """
        present = self.rounds.stat().st_size if self.rounds.exists() else 0
        if present < size:
            raise RunFolderError(
                f"{self.rounds} has {present} bytes, and had {size} at the last checkpoint: it is missing or damaged; "
                "put it back, or start the run anew with --overwrite"
            )
        with self.rounds.open("r+b") as file:
            file.truncate(size)

    def write(self, path: Path, text: str) -> None:
        """Write a text file that is there whole or as it was."""
        draft = path.with_name(f".{path.name}.part")
        draft.write_text(text)
        sync(draft)
        draft.replace(path)


@contextmanager
def opened(folder: RunFolder) -> Iterator[None]:
    """Hold the folder for this process alone.

    Raises: RunFolderError if another run is writing to it, or nobody can.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock_file = (folder.path / ".lock").open("w")
    except OSError as error:
        raise RunFolderError(
            f"{folder.path} cannot be written: {error.strerror}; choose another --output, or output.folder"
        ) from error
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunFolderError(
                f"{folder.path} is in use by another run; wait for it, or choose another --name"
            ) from error
        yield


def is_taken(folder: RunFolder) -> bool:
    """Return whether something lies in the folder that a new run would destroy.

    A configuration alone is no run yet: one that was refused, or stopped at its start, leaves that.
    """
    return any(path != folder.config for path in _visible(folder))


def _visible(folder: RunFolder) -> list[Path]:
    return [path for path in folder.path.iterdir() if not path.name.startswith(".")] if folder.path.is_dir() else []


def refuse_or_clear(folder: RunFolder, overwrite: bool) -> None:
    """Make room for a new run.

    Raises: RunFolderError if there is a run already and it may not be overwritten.
    """
    if not is_taken(folder):
        folder.identity.unlink(missing_ok=True)
        return
    if not overwrite:
        raise RunFolderError(
            f"{folder.path} already holds a run; go on with it (foedus run --resume {folder.path}), "
            "choose another --name, or replace it with --overwrite"
        )
    if not folder.config.exists():
        raise RunFolderError(f"{folder.path} is not a run's folder, so it is not overwritten; choose another --name")
    folder.identity.unlink(missing_ok=True)  # the new run is another one, though its folder be the same
    for path in _visible(folder):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
