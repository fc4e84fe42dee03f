"""A ledger's file: SQLite, opened so that what is committed survives a crash, and refused if anything is amiss."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from foedus.core.durable import sync
from foedus.core.errors import LedgerError

APPLICATION = 0x666F6564  # "foed": tells a ledger from other SQLite files
VERSION = 1
BUSY_SECONDS = 60.0  # how long to wait while another process writes

# budgets: one row each time one is set; the newest of a unit holds, the others are its history.
# contents: the rows of data that a budget's id names, as keyed hashes; `former` are those that were taken out.
# spends: one row for each attempt of a round; `uses` is how often its event is charged.
_SCHEMA = (
    "CREATE TABLE secret (value BLOB NOT NULL)",
    """CREATE TABLE budgets (
        number INTEGER PRIMARY KEY, budget_id TEXT NOT NULL, unit TEXT NOT NULL,
        epsilon REAL NOT NULL, delta REAL NOT NULL, note TEXT NOT NULL, set_at TEXT NOT NULL)""",
    """CREATE TABLE contents (
        budget_id TEXT PRIMARY KEY, current BLOB NOT NULL, former BLOB NOT NULL,
        records INTEGER NOT NULL, change_announced INTEGER NOT NULL, recorded_at TEXT NOT NULL)""",
    """CREATE TABLE spends (
        number INTEGER PRIMARY KEY, budget_id TEXT NOT NULL, unit TEXT NOT NULL, run TEXT NOT NULL,
        round INTEGER NOT NULL, attempt INTEGER NOT NULL, event TEXT NOT NULL, uses INTEGER NOT NULL,
        delta REAL NOT NULL, status TEXT NOT NULL CHECK (status IN ('reserved', 'settled', 'returned')),
        changed_at TEXT NOT NULL,
        UNIQUE (budget_id, unit, run, round, attempt))""",
    "CREATE INDEX spends_of_a_budget ON spends (budget_id, unit, status)",
)


class LedgerFile:
    """One ledger's SQLite file, made if it does not exist; for one process, of which one thread at a time uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        with _explained(path):
            made = _make(path)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._prepare(made)

    def _prepare(self, made: bool) -> None:
        run = self._connection.execute
        if not made and run("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise LedgerError(f"{self.path} is damaged; {_RESTORE}")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL would lose the last spends when power fails
        run("PRAGMA fullfsync = ON")
        with self.transaction() as ledger:  # of two processes that make the file, one fills it
            application, version = (ledger.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS)
            empty = not ledger.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if empty and not application:
                for statement in _SCHEMA:
                    ledger.execute(statement)
                ledger.execute("INSERT INTO secret VALUES (?)", (secrets.token_bytes(32),))
                ledger.execute(f"PRAGMA application_id = {APPLICATION}")
                ledger.execute(f"PRAGMA user_version = {VERSION}")
            elif application != APPLICATION:
                raise LedgerError(f"{self.path} is no privacy ledger; move that file away, or set FOEDUS_LEDGERS")
            elif version != VERSION:
                raise LedgerError(
                    f"{self.path} has version {version}, and this foedus writes version {VERSION}; "
                    "use the foedus that wrote it"
                )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do everything in the block, durably, or nothing; no other process writes meanwhile."""
        with self._lock, _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read what is committed."""
        with self._lock, _explained(self.path):
            yield self._connection

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


_MARKS = ("application_id", "user_version")
_RESTORE = (
    "put back a copy of it. Without its spends nothing can be allowed; a ledger that begins empty is a decision of "
    "whoever answers for the data"
)


def _make(path: Path) -> bool:
    """Make an empty file that its owner alone can read, if there is none; return whether there was none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return False
    sync(path.parent)
    return True


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into what it means here."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"the privacy ledger {path} {_meaning(error)}") from error
    except OSError as error:
        raise LedgerError(
            f"the privacy ledger {path} cannot be opened: {error.strerror}; "
            "make the place writable, or name another folder by FOEDUS_LEDGERS"
        ) from error


def _meaning(error: sqlite3.DatabaseError) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    meanings = {
        sqlite3.SQLITE_READONLY: "cannot be written: it is read-only, and what is spent must be written first; "
        "make it writable, or name another folder by FOEDUS_LEDGERS",
        sqlite3.SQLITE_CANTOPEN: "cannot be opened; make its folder writable, or name another by FOEDUS_LEDGERS",
        sqlite3.SQLITE_FULL: "cannot be written: the disk is full; make room and go on with --resume",
        sqlite3.SQLITE_IOERR: "cannot be written or read: the disk fails or is full; mend that and go on with --resume",
        sqlite3.SQLITE_BUSY: f"was held by another process for {BUSY_SECONDS:.0f} s; end that one, then try again",
        sqlite3.SQLITE_CORRUPT: f"is damaged; {_RESTORE}",
        sqlite3.SQLITE_NOTADB: f"is damaged: it is no SQLite file; {_RESTORE}",
    }
    return meanings.get(code, f"cannot be used ({error}); {_RESTORE}")
