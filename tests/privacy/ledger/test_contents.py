"""A budget is for certain rows: they cannot be spent from another one, nor changed without a word."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import BudgetError, LedgerError
from foedus.privacy.ledger.composing import Tables
from foedus.privacy.ledger.contents import fingerprint, in_common, name_rows, table_rows
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger
from privacy.ledger.small_plans import charge, rows

KEY = b"0" * 32


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(participant_ledger(tmp_path, "north"))
    made.register("icu", rows(range(100)))
    yield made
    made.close()


def owns(ledger: Ledger, budget_id: str) -> int | None:
    return {account.budget_id: account.records for account in ledger.accounts()}[budget_id]


def test_the_same_rows_in_any_order_are_the_same_data(ledger: Ledger) -> None:
    ledger.register("icu", reversed(rows(range(100))))
    assert owns(ledger, "icu") == 100


@pytest.mark.parametrize("others", [range(100), range(99, 200)], ids=["all", "one"])
def test_rows_of_one_budget_cannot_be_spent_from_another(ledger: Ledger, others: range) -> None:
    with pytest.raises(BudgetError, match="use the budget icu"):
        ledger.register("new", rows(others))
    assert ledger.register("new", rows(range(100, 200))) == "new"


@pytest.mark.parametrize(
    "others", [[*range(99)], [*range(101)], [*range(99), 100], [*range(100), 0]], ids=["less", "more", "other", "twice"]
)
def test_a_change_is_refused_until_it_is_announced_and_then_accepted_once(ledger: Ledger, others: list[int]) -> None:
    with pytest.raises(BudgetError, match="--accept-changed-data"):
        ledger.register("icu", rows(others))
    ledger.announce_change("icu")
    ledger.register("icu", rows(others))
    ledger.register("icu", rows(others))
    with pytest.raises(BudgetError):
        ledger.register("icu", rows(range(100)))


def test_spends_stay_when_the_data_change_and_rows_that_were_taken_out_still_belong_to_their_budget(
    ledger: Ledger,
) -> None:
    ledger.reserve("a", 1, [charge()], Tables())
    ledger.announce_change("icu")
    ledger.register("icu", rows(range(50, 150)))
    [reserved] = ledger.reserve("b", 1, [charge()], Tables())
    assert reserved.standing.epsilon > ledger.standing("a", charge(noise_multiplier=11.0), Tables()).epsilon / 2
    [account] = ledger.accounts()
    assert [spending.uses for spending in account.spendings] == [1, 1]
    with pytest.raises(BudgetError):
        ledger.register("new", rows([0]))  # was taken out of icu


def test_an_id_that_nobody_chose_takes_other_rows_in_as_long_as_it_has_no_limit(ledger: Ledger) -> None:
    ledger.register("north", rows(range(200, 300)), named=False)
    ledger.register("north", rows(range(250, 350)), named=False)
    with pytest.raises(BudgetError):
        ledger.register("new", rows([200]))
    ledger.set_limit("north", "record", 8.0, 1e-5)
    with pytest.raises(BudgetError, match="--accept-changed-data"):
        ledger.register("north", rows(range(300, 400)), named=False)


def test_an_id_that_nobody_chose_gives_way_to_the_one_that_the_rows_belong_to(ledger: Ledger) -> None:
    assert ledger.register("second run", rows(range(100)), named=False) == "icu"
    assert ledger.register("third run", rows(range(50)), named=False) == "icu"
    with pytest.raises(BudgetError):  # rows that were taken out are icu's
        ledger.register("new", rows([99]))
    ledger.set_limit("icu", "record", 8.0, 1e-5)
    with pytest.raises(BudgetError, match="--accept-changed-data"):
        ledger.register("fourth run", rows(range(60)), named=False)
    ledger.register("ward", rows(range(200, 300)))
    with pytest.raises(BudgetError, match="belong to"):
        ledger.register("fifth run", rows(range(300)), named=False)  # of two budgets
    assert {account.budget_id for account in ledger.accounts()} == {"icu", "ward"}


def test_a_change_of_unknown_data_cannot_be_accepted(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no data for the budget new"):
        ledger.announce_change("new")


def test_data_under_a_budget_are_never_used_without_protection_whatever_they_are_called(ledger: Ledger) -> None:
    ledger.refuse_unprotected("icu", rows(range(100)))
    ledger.set_limit("icu", "record", 8.0, 1e-5)
    for budget_id, numbers in (("icu", range(1000, 1001)), ("new", range(99, 200))):
        with pytest.raises(BudgetError, match="noise: secret"):
            ledger.refuse_unprotected(budget_id, rows(numbers))
    ledger.refuse_unprotected("new", rows(range(100, 200)))


def test_a_ledger_holds_no_row_and_two_ledgers_hashes_have_nothing_in_common(ledger: Ledger, tmp_path: Path) -> None:
    secret = b"Erika Mustermann, diabetes"
    ledger.register("new", [secret])
    ledger.close()
    assert secret not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert in_common(fingerprint([secret], b"1" * 32).hashes, fingerprint([secret], b"2" * 32).hashes) == 0


def test_rows_of_a_table_are_all_its_columns_whatever_their_order_or_chunks() -> None:
    table = pa.table({"text": ["a", "b", None], "label": [1, 2, 3]})
    found = fingerprint(table_rows([table]), KEY)
    assert found.records == 3
    assert not found.differs(fingerprint(table_rows([table.select(["label", "text"])]), KEY))
    assert not found.differs(fingerprint(table_rows([table.slice(1), table.slice(0, 1)]), KEY))
    other = pa.table({"text": ["a", "b", ""], "label": [1, 2, 3]})
    assert in_common(found.hashes, fingerprint(table_rows([other]), KEY).hashes) == 2
    dated = pa.table({"when": [datetime.date(2026, 1, 1)], "many": [["x", "y"]], "raw": [b"\xff"], "f": [0.5]})
    assert len(list(table_rows([dated]))) == 1


@given(st.lists(st.tuples(st.text(), st.text() | st.none()), unique=True, max_size=20))
def test_different_rows_stay_different(pairs: list[tuple[str, str | None]]) -> None:
    table = pa.table(
        {"a": pa.array([a for a, _ in pairs], pa.string()), "b": pa.array([b for _, b in pairs], pa.string())}
    )
    assert len(set(table_rows([table]))) == len(pairs)


def test_a_federation_s_rows_are_its_participants() -> None:
    assert list(name_rows(["a", "ü"])) == [b"a", "ü".encode()]
