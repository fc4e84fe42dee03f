"""A privacy ledger: what was spent of whose budget, written before it is spent.

A spend is `reserved` before anything is sent or computed, and `settled` after the round. One that is only
reserved counts like one that is settled: after a crash nobody knows what had left the machine. What certainly
never left is `returned`, stays in the file, and counts nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from foedus.core.errors import BudgetError, LedgerError
from foedus.privacy.ledger.composing import Charge, Spent, Tables
from foedus.privacy.ledger.contents import Contents, fingerprint, from_blob, in_common, to_blob
from foedus.privacy.ledger.places import owner_of
from foedus.privacy.ledger.storage import LedgerFile

# So often others may spend from the budget while its table is computed; then they wait for it.
_FREE_TRIES = 2


@dataclass(frozen=True)
class Limit:
    """What may be spent of a budget in all, by whoever answers for the data.

    unit: what one unit of privacy is: a record, a block, a participant. Budgets of different units do not add up.
    note: who set it, and why.
    """

    unit: str
    epsilon: float
    delta: float
    note: str
    set_at: str


@dataclass(frozen=True)
class Spending:
    """One run's spends of one event, from one budget.

    rounds: how many rounds were charged. uses: how often the event is charged; redone rounds are charged again.
    unsettled: how many uses are only reserved: a round that is going on, or one that a crash cut short.
    delta: the run's own. since, until: when the first and the last entry changed.
    """

    unit: str
    run: str
    event: str
    delta: float
    rounds: int
    uses: int
    unsettled: int
    since: str
    until: str


@dataclass(frozen=True)
class Account:
    """Everything that a ledger holds about one budget.

    records: how many rows its data have; None before the first use.
    """

    budget_id: str
    limits: Sequence[Limit]
    records: int | None
    change_announced: bool
    spendings: Sequence[Spending]

    def spent(self, unit: str) -> Spent:
        """Return all that counts for a unit."""
        return _summed((spending.event, spending.uses) for spending in self.spendings if spending.unit == unit)


@dataclass(frozen=True)
class Standing:
    """What a budget has come to.

    charges: how many of this run are in it. epsilon: of all that is spent, at this delta.
    limit: what the budget allows; None if none was set.
    """

    charge: Charge
    charges: int
    epsilon: float
    delta: float
    limit: float | None


@dataclass(frozen=True)
class Reserved:
    """A spend that is written down, and what the budget has come to with it.

    number: of the spend in its ledger. attempt: 1, and one more for each time that the round was redone.
    """

    number: int
    attempt: int
    standing: Standing


class Ledger:
    """One ledger's file, for one process; others may use the same file, too."""

    def __init__(self, path: Path) -> None:
        self._file = LedgerFile(path)
        self.owner = owner_of(path)
        self.path = path

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # Budgets and the data that they are for

    def set_limit(self, budget_id: str, unit: str, epsilon: float, delta: float, note: str = "") -> None:
        """Allow so much of a unit to be spent in all, what is spent already included.

        Raises: BudgetError if the data are known and delta is no less than one over their number.
        """
        with self._file.transaction() as db:
            _require_small(delta, unit, _records(db, budget_id), budget_id)
            db.execute(
                "INSERT INTO budgets (budget_id, unit, epsilon, delta, note, set_at) VALUES (?, ?, ?, ?, ?, ?)",
                (budget_id, unit, epsilon, delta, note, _now()),
            )

    def announce_change(self, budget_id: str) -> None:
        """Let the data of a budget be other rows the next time that they are used.

        The spends stay: of the rows that were there, and for the new ones too, since all share one total.
        Raises: LedgerError if the ledger has no data for it.
        """
        with self._file.transaction() as db:
            changed = db.execute("UPDATE contents SET change_announced = 1 WHERE budget_id = ?", (budget_id,))
            if not changed.rowcount:
                raise LedgerError(
                    f"the ledger of {self.owner} has no data for the budget {budget_id}: there is no change to accept"
                )

    def register(self, budget_id: str, rows: Iterable[bytes], *, named: bool = True) -> str:
        """Record that a budget is for these rows, or check that they are the ones that it is for; return its id.

        rows: of the data set, one by one, whatever its splits; see contents.table_rows.
        named: whether a person chose the id. One that merely follows from some name gives way to the id that
            the rows belong to, which is then returned; and as long as the budget has no limit, other rows are
            taken in without a word: they share its total.
        Raises: BudgetError if rows belong to another budget of this ledger, or have changed unannounced.
        """
        with self._file.reading() as db:
            secret = db.execute("SELECT value FROM secret").fetchone()[0]
        found = fingerprint(rows, secret)
        with self._file.transaction() as db:
            others = self._sharing(db, budget_id, found)
            if others and (named or len(others) > 1 or _records(db, budget_id) is not None):
                other, common = next(iter(others.items()))
                raise BudgetError(
                    f"{common:,} of the {found.records:,} rows that {self.owner} would use under the budget "
                    f"{budget_id} belong to its budget {other}; use the budget {other}, where they were spent from, "
                    "or take these rows out"
                )
            paying = next(iter(others), budget_id)
            self._record_contents(db, paying, found, named)
            for limit in _limits(db, paying):
                _require_small(limit.delta, limit.unit, found.records, paying)
        return paying

    def _record_contents(self, db: sqlite3.Connection, budget_id: str, found: Contents, named: bool) -> None:
        known = db.execute("SELECT * FROM contents WHERE budget_id = ?", (budget_id,)).fetchone()
        if known is None:
            db.execute(
                "INSERT INTO contents VALUES (?, ?, ?, ?, 0, ?)",
                (budget_id, to_blob(found.hashes), b"", found.records, _now()),
            )
        elif found.differs(Contents(from_blob(known["current"]), known["records"])):
            if (named or _limits(db, budget_id)) and not known["change_announced"]:
                raise BudgetError(
                    f"the data of {self.owner} are not those that the budget {budget_id} was used for: "
                    f"{_difference(found, known)}. If they are meant to have changed, say so: "
                    f"foedus privacy budget set {budget_id} --accept-changed-data. What is spent stays spent, "
                    "for new rows too. For other data name another budget"
                )
            former = to_blob(_owned(db, budget_id).hashes)
            db.execute(
                "UPDATE contents SET current = ?, former = ?, records = ?, change_announced = 0, recorded_at = ? "
                "WHERE budget_id = ?",
                (to_blob(found.hashes), former, found.records, _now(), budget_id),
            )

    def refuse_unprotected(self, budget_id: str, rows: Iterable[bytes]) -> None:
        """Check that data may be used without protection, as by a run whose noise is reproducible.

        Raises: BudgetError if the id has a limit, or rows belong to a budget that has one.
        """
        if (name := self.limit_over(budget_id, rows)) is not None:
            raise BudgetError(
                f"noise: reproducible protects nobody, and the data of {self.owner} are under the budget {name}; "
                "use noise: secret, or other data"
            )

    def limit_over(self, budget_id: str, rows: Iterable[bytes], unit: str | None = None) -> str | None:
        """Return a budget with a limit that has this id, or some of these rows; None if there is none.

        unit: of the limit; any, if left out.
        """
        with self._file.reading() as db:
            secret = db.execute("SELECT value FROM secret").fetchone()[0]
            chosen = db.execute(
                "SELECT DISTINCT budget_id FROM budgets WHERE ? IS NULL OR unit = ? ORDER BY budget_id", (unit, unit)
            )
            limited = [row[0] for row in chosen]
            contents = {name: _owned(db, name) for name in limited}
        if not limited:
            return None
        found = fingerprint(rows, secret)
        matching = (n for n in limited if n == budget_id or in_common(found.hashes, contents[n].hashes))
        return next(matching, None)

    def _sharing(self, db: sqlite3.Connection, budget_id: str, found: Contents) -> Mapping[str, int]:
        """Return the other budgets that rows belong to, and how many."""
        others = db.execute("SELECT budget_id FROM contents WHERE budget_id <> ? ORDER BY budget_id", (budget_id,))
        common = {other: in_common(found.hashes, _owned(db, other).hashes) for (other,) in others.fetchall()}
        return {other: count for other, count in common.items() if count}

    # Spending

    def reserve(self, run: str, round_number: int, charges: Sequence[Charge], tables: Tables) -> Sequence[Reserved]:
        """Write the charges of a round down, all or none, before anything is sent or computed.

        Each call is a new attempt and is charged: one whose bytes are sent again as they were is not reserved.
        When it returns the disk has the spends. Nothing is allowed on a table of other spends than there are.
        Raises: BudgetError if a budget would be overspent; LedgerError if the data of one are not registered.
        """
        for _ in range(_FREE_TRIES):
            with self._file.transaction() as db:
                positions = [self._position(db, run, round_number, charge) for charge in charges]
                if all(tables.find(*position.table) is not None for position in positions):
                    return self._write(db, run, round_number, positions, tables)
            for position in positions:
                tables.make(*position.table)
        with self._file.transaction() as db:
            positions = [self._position(db, run, round_number, charge) for charge in charges]
            return self._write(db, run, round_number, positions, tables)

    def settle(self, reserved: Sequence[Reserved]) -> None:
        """Note that the round of these spends is over."""
        self._close(reserved, "settled")

    def settle_round(self, run: str, round_number: int) -> None:
        """Note that a round is over for which nothing was reserved anew: what was, before a crash, is settled."""
        with self._file.transaction() as db:
            db.execute(
                "UPDATE spends SET status = 'settled', changed_at = ? "
                "WHERE run = ? AND round = ? AND status = 'reserved'",
                (_now(), run, round_number),
            )

    def give_back(self, reserved: Sequence[Reserved]) -> None:
        """Let spends count nothing: only where nothing was sent or computed since they were reserved."""
        self._close(reserved, "returned")

    def has_spent(self, run: str) -> bool:
        """Return whether the ledger has a spend of this run."""
        with self._file.reading() as db:
            return db.execute("SELECT 1 FROM spends WHERE run = ? LIMIT 1", (run,)).fetchone() is not None

    def charged(self, run: str) -> Spent:
        """Return all that a run was charged, whatever for and to whichever budget."""
        with self._file.reading() as db:
            counted = db.execute(
                "SELECT event, sum(uses) FROM spends WHERE run = ? AND status <> 'returned' GROUP BY event", (run,)
            ).fetchall()
        return _summed((event, uses) for event, uses in counted)

    def standing(self, run: str, charge: Charge, tables: Tables) -> Standing:
        """Return what the budget of a charge has come to, without charging anything."""
        with self._file.reading() as db:
            position = self._position(db, run, 0, charge)
        return position.standing(tables, position.own)

    def forecast(self, run: str, charge: Charge, tables: Tables) -> tuple[float, float | None, int | None]:
        """Return ε in the budget after all rounds that are left, its limit, and how many more charges fit into it.

        Both last ones are None if no budget was set.
        """
        with self._file.reading() as db:
            position = self._position(db, run, 0, charge)
        last = max(position.own, charge.planned)
        table = tables.make(position.charge, position.delta, position.others, last)
        limit = position.limit
        if limit is None:
            return table[last], None, None
        return table[last], limit.epsilon, position.fitting(table, limit.epsilon)

    def _position(self, db: sqlite3.Connection, run: str, round_number: int, charge: Charge) -> _Position:
        """Return where the budget of a charge stands."""
        unit = charge.plan.unit
        if _records(db, charge.budget_id) is None:
            raise LedgerError(f"the ledger of {self.owner} does not know which data the budget {charge.budget_id} has")
        counted = db.execute(
            "SELECT event, run = ?, sum(uses) FROM spends WHERE budget_id = ? AND unit = ? AND status <> 'returned' "
            "GROUP BY event, run = ?",
            (run, charge.budget_id, unit, run),
        ).fetchall()
        own = sum(uses for event, is_own, uses in counted if is_own and event == charge.event) // charge.uses
        others = _summed(
            (event, uses - own * charge.uses if is_own and event == charge.event else uses)
            for event, is_own, uses in counted
        )
        attempts, redone = db.execute(
            "SELECT coalesce(max(attempt), 0), coalesce(sum(status <> 'returned'), 0) FROM spends "
            "WHERE budget_id = ? AND unit = ? AND run = ? AND round = ?",
            (charge.budget_id, unit, run, round_number),
        ).fetchone()
        # correlated noise was charged for the whole run in its first round, unless a round is redone otherwise
        is_paid = charge.at_once and own and (charge.repeats or not redone)
        return _Position(charge, self._limit(db, charge), own, others, attempts + 1, 0 if is_paid else 1)

    def _limit(self, db: sqlite3.Connection, charge: Charge) -> Limit | None:
        """Return the limit for a charge, or None if the budget has none at all.

        Raises: BudgetError if it has limits for other units only: what these would bound, this one would not.
        """
        limits = _limits(db, charge.budget_id)
        unit = charge.plan.unit
        if limits and unit not in {limit.unit for limit in limits}:
            raise BudgetError(
                f"the budget {charge.budget_id} of {self.owner} limits what is spent of each {limits[0].unit}, and "
                f"this run would spend of each {unit}; protect each {limits[0].unit}, or let whoever answers for the "
                f"data set a budget: foedus privacy budget set {charge.budget_id} --unit {unit}"
            )
        return next((limit for limit in limits if limit.unit == unit), None)

    def _write(
        self, db: sqlite3.Connection, run: str, round_number: int, positions: Sequence[_Position], tables: Tables
    ) -> Sequence[Reserved]:
        """Check every charge against its budget and write it down."""
        reserved = []
        for position in positions:
            charge, limit, after = position.charge, position.limit, position.after
            table = tables.make(*position.table)
            if limit is not None and position.adds and not table[after] <= limit.epsilon:
                raise BudgetError(self._refusal(round_number, position, limit, table))
            number = db.execute(
                "INSERT INTO spends (budget_id, unit, run, round, attempt, event, uses, delta, status, changed_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'reserved', ?)",
                (
                    charge.budget_id,
                    charge.plan.unit,
                    run,
                    round_number,
                    position.attempt,
                    charge.event,
                    position.adds * charge.uses,
                    charge.plan.delta,
                    _now(),
                ),
            ).lastrowid
            assert number is not None
            reserved.append(Reserved(number, position.attempt, position.standing(tables, after)))
        return reserved

    def _refusal(self, round_number: int, position: _Position, limit: Limit, table: Sequence[float]) -> str:
        asked = "the whole run" if position.charge.at_once else f"round {round_number}"
        return (
            f"{asked} would bring the budget {position.charge.budget_id} of {self.owner} to ε "
            f"{table[position.after]:.4g} for a {limit.unit} (δ {limit.delta:.3g}); "
            f"{table[position.own]:.4g} is spent and {limit.epsilon:.4g} is allowed, so that "
            f"{position.fitting(table, limit.epsilon)} more rounds like it fit. Nothing was sent or computed for it. "
            "Use fewer rounds or more noise; or let whoever answers for the data set another budget, by "
            f"foedus privacy budget set {position.charge.budget_id}"
        )

    def _close(self, reserved: Sequence[Reserved], status: str) -> None:
        with self._file.transaction() as db:
            db.executemany(
                "UPDATE spends SET status = ?, changed_at = ? WHERE number = ? AND status = 'reserved'",
                [(status, _now(), each.number) for each in reserved],
            )

    # Reading

    def accounts(self) -> Sequence[Account]:
        """Return all that the ledger holds, by budget."""
        with self._file.reading() as db:
            ids = db.execute(
                "SELECT budget_id FROM budgets UNION SELECT budget_id FROM contents UNION "
                "SELECT budget_id FROM spends ORDER BY budget_id"
            ).fetchall()
            return [self._account(db, budget_id) for (budget_id,) in ids]

    def _account(self, db: sqlite3.Connection, budget_id: str) -> Account:
        announced = db.execute("SELECT change_announced FROM contents WHERE budget_id = ?", (budget_id,)).fetchone()
        rows = db.execute(
            "SELECT unit, run, event, min(delta), count(DISTINCT round), sum(uses), "
            "sum(CASE WHEN status = 'reserved' THEN uses ELSE 0 END), min(changed_at), max(changed_at) "
            "FROM spends WHERE budget_id = ? AND status <> 'returned' GROUP BY unit, run, event ORDER BY min(number)",
            (budget_id,),
        )
        spendings = [Spending(*row) for row in rows]
        limits = _limits(db, budget_id)
        return Account(budget_id, limits, _records(db, budget_id), bool(announced and announced[0]), spendings)


@dataclass(frozen=True)
class _Position:
    """Where a budget stands before a charge.

    own: the run's charges so far. adds: 1, or 0 where nothing is due. attempt: of the round, from 1.
    """

    charge: Charge
    limit: Limit | None
    own: int
    others: Spent
    attempt: int
    adds: int

    @property
    def after(self) -> int:
        """The run's charges with this one."""
        return self.own + self.adds

    @property
    def delta(self) -> float:
        """The budget's δ, or the run's own where none was set."""
        return self.limit.delta if self.limit else self.charge.plan.delta

    @property
    def table(self) -> tuple[Charge, float, Spent, int]:
        """What Tables need to find or make the table."""
        return self.charge, self.delta, self.others, self.after

    def standing(self, tables: Tables, charges: int) -> Standing:
        """Return what the budget has come to with so many charges of the run."""
        table = tables.make(self.charge, self.delta, self.others, charges)
        return Standing(self.charge, charges, table[charges], self.delta, self.limit.epsilon if self.limit else None)

    def fitting(self, table: Sequence[float], allowed: float) -> int:
        """Return how many more charges the budget allows, as far as the table goes."""
        return sum(epsilon <= allowed for epsilon in table[self.own + 1 :])


def _summed(events: Iterable[tuple[str, int]]) -> Spent:
    totals: dict[str, int] = {}
    for event, uses in events:
        totals[event] = totals.get(event, 0) + uses
    return tuple(sorted((event, uses) for event, uses in totals.items() if uses))


def _limits(db: sqlite3.Connection, budget_id: str) -> Sequence[Limit]:
    """Return the limits that hold, one a unit."""
    rows = db.execute(
        "SELECT unit, epsilon, delta, note, set_at FROM budgets "
        "WHERE number IN (SELECT max(number) FROM budgets WHERE budget_id = ? GROUP BY unit) ORDER BY unit",
        (budget_id,),
    )
    return [Limit(*row) for row in rows]


def _records(db: sqlite3.Connection, budget_id: str) -> int | None:
    row = db.execute("SELECT records FROM contents WHERE budget_id = ?", (budget_id,)).fetchone()
    return int(row[0]) if row else None


def _owned(db: sqlite3.Connection, budget_id: str) -> Contents:
    """Return every row that a budget is or was for."""
    row = db.execute("SELECT current, former, records FROM contents WHERE budget_id = ?", (budget_id,)).fetchone()
    if row is None:
        return Contents(from_blob(b""), 0)
    return Contents(np.unique(from_blob(row["current"] + row["former"])), row["records"])


def _difference(found: Contents, known: sqlite3.Row) -> str:
    before = from_blob(known["current"])
    common = in_common(found.hashes, before)
    return (
        f"{found.hashes.size - common:,} rows are new or changed and {before.size - common:,} are missing, "
        f"of {known['records']:,}"
    )


def _require_small(delta: float, unit: str, records: int | None, budget_id: str) -> None:
    """Check that δ is less than one over the number of records; of other units the ledger does not know the number."""
    if records is not None and unit == "record" and delta * records >= 1:
        raise BudgetError(
            f"the budget {budget_id} has δ {delta:.3g}, and its data have {records:,} units: a δ of 1/{records} or "
            f"more lets a whole one be published; use less, such as {0.1 / records:.1g}"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
