"""A participant's own files: nobody else may read them, and one that is written is whole or as it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from foedus.privacy.own_files import append_own, write_own


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_its_owner_s_alone_and_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "north" / "run.bill.json"
    write_own(file, b"one")
    write_own(file, b"two")
    assert (file.read_bytes(), mode(file), mode(file.parent)) == (b"two", 0o600, 0o700)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_added_follows_what_was_there(tmp_path: Path, durable: bool) -> None:
    file = tmp_path / "north" / "run.receipts.jsonl"
    append_own(file, b"one\n", durable=durable)
    append_own(file, b"two\n", durable=durable)
    assert (file.read_bytes(), mode(file), mode(file.parent)) == (b"one\ntwo\n", 0o600, 0o700)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.bill.json"
    write_own(file, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_own(file, b"two")
    assert file.read_bytes() == b"one"
    write_own(file, b"three")
    assert file.read_bytes() == b"three"
