"""What cannot be written down is not spent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from foedus.core.errors import LedgerError
from foedus.privacy.ledger.composing import Tables
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import (
    federation_ledger,
    ledger_folder,
    ledgers_in,
    owner_of,
    participant_ledger,
)
from privacy.ledger.small_plans import charge, rows


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(participant_ledger(tmp_path, "north"))
    made.register("icu", rows(range(100)))
    yield made
    made.close()


def refused(ledger: Ledger) -> str:
    with pytest.raises(LedgerError) as refusal:
        ledger.reserve("a", 1, [charge()], Tables())
    return str(refusal.value)


def test_a_read_only_ledger_allows_nothing(ledger: Ledger) -> None:
    ledger._file._connection.execute("PRAGMA query_only = ON")
    assert "read-only" in refused(ledger)
    ledger._file._connection.execute("PRAGMA query_only = OFF")
    assert not ledger.has_spent("a")
    ledger.reserve("a", 1, [charge()], Tables())


def test_a_full_disk_allows_nothing(ledger: Ledger) -> None:
    db = ledger._file._connection
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")

    def fill() -> None:
        for number in range(1000):
            ledger.reserve("a", number, [charge()], Tables())

    with pytest.raises(LedgerError, match="disk is full"):
        fill()
    spent = ledger.accounts()[0].spendings[0].uses
    db.execute("PRAGMA max_page_count = 100000")
    ledger.reserve("a", 2000, [charge()], Tables())
    assert ledger.accounts()[0].spendings[0].uses == spent + 1


def test_a_ledger_held_by_another_process_too_long_allows_nothing(
    ledger: Ledger,
) -> None:
    ledger._file._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "held by another process" in refused(ledger)
    other.execute("ROLLBACK")
    other.close()


def test_two_participants_never_share_a_file_and_a_file_names_its_owner(tmp_path: Path) -> None:
    names = ["a", "a/b", "a%2Fb", "../a", "Ärzte", "federation", "a b", "."]
    paths = [participant_ledger(tmp_path, name) for name in names]
    assert len({path.name.casefold() for path in paths}) == len(names)
    assert all(path.parent == tmp_path for path in paths)
    assert [owner_of(path) for path in paths] == names
    for path in (*paths[:2], federation_ledger(tmp_path)):
        Ledger(path).close()
    assert [owner_of(path) for path in ledgers_in(tmp_path)] == ["the federation", "a", "a/b"]
    with pytest.raises(LedgerError, match="too long"):
        participant_ledger(tmp_path, "x" * 300)


def test_the_folder_follows_the_environment() -> None:
    assert ledger_folder({"FOEDUS_LEDGERS": "/l", "XDG_DATA_HOME": "/d"}) == Path("/l")
    assert ledger_folder({"XDG_DATA_HOME": "/d"}) == Path("/d/foedus/ledgers")
    assert ledger_folder({}) == Path.home() / ".local/share/foedus/ledgers"
