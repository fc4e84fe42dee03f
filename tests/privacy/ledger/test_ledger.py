"""What a ledger promises: spends add up over runs, and nothing is allowed that a budget does not allow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from foedus.core.errors import BudgetError, LedgerError
from foedus.privacy.accounting import epsilon
from foedus.privacy.events import Gaussian
from foedus.privacy.ledger.composing import Charge, Tables, epsilon_of
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger
from foedus.privacy.plan import RecordPlan
from privacy.ledger.small_plans import charge, plan, rows

DELTA = 1e-5
ROUNDING = 1e-9  # between a sum of squares and a product


def epsilon_after(uses: int, noise_multiplier: float = 10.0) -> float:
    return epsilon([(Gaussian(noise_multiplier), uses)], DELTA)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(participant_ledger(tmp_path / "ledgers", "north"))
    made.register("icu", rows(range(100)))
    yield made
    made.close()


def test_without_a_budget_everything_is_recorded_and_nothing_refused(ledger: Ledger) -> None:
    tables = Tables()
    for number in range(1, 21):
        [reserved] = ledger.reserve("a", number, [charge()], tables)
        ledger.settle([reserved])
    assert reserved.standing.limit is None
    assert reserved.standing.epsilon == pytest.approx(epsilon_after(20))
    [account] = ledger.accounts()
    assert (account.budget_id, account.limits, account.records) == ("icu", [], 100)
    [spending] = account.spendings
    assert (spending.rounds, spending.uses, spending.unsettled) == (20, 20, 0)
    assert epsilon_of(account.spent("record"), DELTA) == pytest.approx(epsilon_after(20))


def test_the_round_that_would_overspend_is_refused_with_what_is_spent_asked_and_allowed(ledger: Ledger) -> None:
    ledger.set_limit("icu", "record", epsilon_after(3) + ROUNDING, DELTA)
    tables = Tables()
    for number in (1, 2, 3):
        ledger.reserve("a", number, [charge()], tables)
    with pytest.raises(BudgetError) as refusal:
        ledger.reserve("a", 4, [charge()], tables)
    for figure in ("round 4", f"{epsilon_after(4):.4g}", f"{epsilon_after(3):.4g}", "0 more rounds", "icu", "north"):
        assert figure in str(refusal.value)
    assert ledger.accounts()[0].spent("record")[0][1] == 3


def test_two_runs_on_the_same_data_compose(ledger: Ledger) -> None:
    ledger.set_limit("icu", "record", epsilon([(Gaussian(10.0), 2), (Gaussian(5.0), 1)], DELTA) + ROUNDING, DELTA)
    ledger.reserve("a", 1, [charge()], Tables())
    ledger.reserve("b", 1, [charge(noise_multiplier=5.0)], Tables())
    [reserved] = ledger.reserve("c", 1, [charge()], Tables())
    assert reserved.standing.epsilon == pytest.approx(epsilon([(Gaussian(10.0), 2), (Gaussian(5.0), 1)], DELTA))
    with pytest.raises(BudgetError):
        ledger.reserve("c", 2, [charge()], Tables())


def test_a_spend_of_another_process_is_counted_though_there_was_a_table_without_it(ledger: Ledger) -> None:
    ledger.set_limit("icu", "record", epsilon_after(4) + ROUNDING, DELTA)
    tables = Tables()
    ledger.reserve("a", 1, [charge()], tables)  # now there is a table of what nobody else has spent
    other = Ledger(ledger.path)
    other.reserve("b", 1, [charge()], Tables())
    other.reserve("b", 2, [charge()], Tables())
    [reserved] = ledger.reserve("a", 2, [charge()], tables)
    assert reserved.standing.epsilon == pytest.approx(epsilon_after(4))
    with pytest.raises(BudgetError):
        ledger.reserve("a", 3, [charge()], tables)
    other.close()


def test_a_redone_round_is_charged_again_and_only_what_is_given_back_is_not_counted(ledger: Ledger) -> None:
    tables = Tables()
    [first] = ledger.reserve("a", 1, [charge()], tables)
    [second] = ledger.reserve("a", 1, [charge()], tables)
    assert (first.attempt, second.attempt, second.standing.charges) == (1, 2, 2)
    ledger.settle([first])
    ledger.give_back([first, second])  # what is settled stays
    [account] = ledger.accounts()
    assert account.spent("record")[0][1] == 1
    [third] = ledger.reserve("a", 1, [charge()], tables)
    assert (third.attempt, third.standing.charges) == (3, 2)


def test_a_round_counts_with_all_its_steps(ledger: Ledger) -> None:
    [reserved] = ledger.reserve("a", 1, [charge(steps=7)], Tables())
    assert reserved.standing.epsilon == pytest.approx(epsilon_after(7))
    [reserved] = ledger.reserve("a", 2, [charge(steps=7)], Tables())
    assert reserved.standing.epsilon == pytest.approx(epsilon_after(14))


def test_charges_of_one_call_are_written_all_or_none(ledger: Ledger) -> None:
    ledger.register("ward", rows(range(100, 200)))
    ledger.set_limit("ward", "record", epsilon_after(1) + ROUNDING, DELTA)
    tables = Tables()
    both = [charge("icu"), charge("ward")]
    ledger.reserve("a", 1, both, tables)
    with pytest.raises(BudgetError, match="ward"):
        ledger.reserve("a", 2, both, tables)
    assert [account.spent("record")[0][1] for account in ledger.accounts()] == [1, 1]


def test_a_limit_for_records_is_not_got_round_by_protecting_blocks(ledger: Ledger) -> None:
    ledger.set_limit("icu", "record", 8.0, DELTA)
    blocks = RecordPlan("block", 10.0, 1.0, 1.0, 1, DELTA, 100)
    with pytest.raises(BudgetError, match="--unit block"):
        ledger.reserve("a", 1, [Charge("icu", blocks, 10)], Tables())


def test_a_forecast_says_what_the_whole_run_comes_to_and_how_many_rounds_fit(ledger: Ledger) -> None:
    total, limit, fitting = ledger.forecast("a", charge(rounds=6), Tables())
    assert (limit, fitting) == (None, None)
    assert total == pytest.approx(epsilon_after(6))
    ledger.set_limit("icu", "record", epsilon_after(4) + ROUNDING, DELTA)
    ledger.reserve("b", 1, [charge(rounds=6)], Tables())
    total, limit, fitting = ledger.forecast("a", charge(rounds=6), Tables())
    assert (limit, fitting) == (epsilon_after(4) + ROUNDING, 3)
    assert total == pytest.approx(epsilon_after(7))


def test_the_newest_limit_holds_even_below_what_is_spent(ledger: Ledger) -> None:
    ledger.set_limit("icu", "record", 8.0, DELTA)
    ledger.reserve("a", 1, [charge()], Tables())
    ledger.set_limit("icu", "record", epsilon_after(1) / 2, DELTA)
    with pytest.raises(BudgetError):
        ledger.reserve("a", 2, [charge()], Tables())
    ledger.set_limit("icu", "record", 8.0, DELTA)
    ledger.reserve("a", 2, [charge()], Tables())


def test_a_delta_of_one_over_n_is_refused(ledger: Ledger) -> None:
    with pytest.raises(BudgetError, match="100 units"):
        ledger.set_limit("icu", "record", 8.0, 0.01)
    ledger.set_limit("new", "record", 8.0, 0.01)
    with pytest.raises(BudgetError, match="200 units"):
        ledger.register("new", rows(range(1000, 1200)))


def test_data_that_nobody_registered_cannot_be_charged(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="does not know which data"):
        ledger.reserve("a", 1, [charge("unknown")], Tables())


def test_the_file_and_its_folder_are_their_owner_s_alone(ledger: Ledger) -> None:
    ledger.reserve("a", 1, [charge()], Tables())
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700
    for path in ledger.path.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    ledger.path.chmod(0o644)
    Ledger(ledger.path).close()
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_ledger_or_damaged_or_newer_is_refused_by_name(tmp_path: Path) -> None:
    import sqlite3

    text = tmp_path / "participant-a.sqlite"
    text.write_text("not a database, " * 100)
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(text)

    foreign = tmp_path / "participant-b.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    with pytest.raises(LedgerError, match="no privacy ledger"):
        Ledger(foreign)

    newer = tmp_path / "participant-c.sqlite"
    Ledger(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(LedgerError, match="version 2"):
        Ledger(newer)

    whole = tmp_path / "participant-d.sqlite"
    used = Ledger(whole)
    used.register("icu", rows(range(5000)))
    used.close()
    content = bytearray(whole.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    whole.write_bytes(content)
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(whole)


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="FOEDUS_LEDGERS"):
        Ledger(participant_ledger(tmp_path / "file", "north"))


def test_a_copy_put_back_goes_on(ledger: Ledger, tmp_path: Path) -> None:
    ledger.reserve("a", 1, [charge()], Tables())
    ledger.close()
    kept = shutil.copy(ledger.path, tmp_path / "participant-north.sqlite")
    again = Ledger(Path(kept))
    [reserved] = again.reserve("a", 2, [charge()], Tables())
    assert reserved.standing.charges == 2
    again.close()


def test_plans_of_the_test_cost_what_their_gaussians_do() -> None:
    from foedus.privacy.accounting import epsilon_by_round

    assert epsilon_by_round(plan(), 3)[3] == pytest.approx(epsilon_after(3))
