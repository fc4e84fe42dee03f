"""Files that a participant keeps for itself, which it alone can read."""

from __future__ import annotations

import os
from pathlib import Path

from foedus.core.durable import sync


def write_own(path: Path, content: bytes) -> None:
    """Write a file that is there whole or as it was; when it returns, the disk has it.

    Raises: OSError if it cannot be written.
    """
    _make_folder(path.parent)
    draft = path.with_name(f".{path.name}.part")
    draft.unlink(missing_ok=True)
    _add(draft, os.O_EXCL, content, durable=True)
    draft.replace(path)
    sync(path.parent)


def append_own(path: Path, content: bytes, *, durable: bool) -> None:
    """Add to a file, which is made if there is none.

    durable: return when the disk has it, and not before.
    Raises: OSError if it cannot be written.
    """
    _make_folder(path.parent)
    is_new = not path.exists()
    _add(path, os.O_APPEND, content, durable=durable)
    if is_new and durable:
        sync(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(folder.parent)


def _add(path: Path, how: int, content: bytes, *, durable: bool) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
