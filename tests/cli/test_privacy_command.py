"""What a data officer types: who spent what, and what may be spent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import foedus
from foedus.cli.main import app
from foedus.core.errors import BudgetError, ConfigError, LedgerError
from foedus.privacy.accounting import epsilon
from foedus.privacy.events import Gaussian
from foedus.privacy.ledger.composing import Tables
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger
from privacy.ledger.small_plans import charge, rows

RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of ledgers in which the participant north has spent two rounds, the second unsettled."""
    monkeypatch.setenv("FOEDUS_LEDGERS", str(tmp_path))
    ledger = Ledger(participant_ledger(tmp_path, "north"))
    ledger.register("icu", rows(range(100)))
    ledger.settle(ledger.reserve("run-of-north", 1, [charge()], Tables()))
    ledger.reserve("run-of-north", 2, [charge()], Tables())
    ledger.close()
    return tmp_path


def run(*arguments: str) -> str:
    done = RUNNER.invoke(app, ["privacy", *arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def refused(*arguments: str) -> str:
    done = RUNNER.invoke(app, ["privacy", *arguments])
    assert done.exit_code == 2, done.output
    return " ".join(done.output.split())


def json_of(*arguments: str) -> Sequence[Mapping[str, Any]]:
    done = RUNNER.invoke(app, ["privacy", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_without_a_ledger_the_command_says_where_one_would_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOEDUS_LEDGERS", str(tmp_path / "none"))
    assert "none" in run("ledger")
    assert json_of("ledger") == []
    assert not (tmp_path / "none").exists()


def test_the_ledger_says_who_spent_what_of_whose(folder: Path) -> None:
    spent = epsilon([(Gaussian(10.0), 2)], 1e-5)
    shown = run("ledger")
    for part in ("north", "icu", f"spent ε {spent:.4g} for each record of 100 rows (δ 1e-05)", "no budget set"):
        assert part in shown
    for part in ("run-of-north"[:12], "gaussian (noise multiplier 10)", "Of this, 1 in a round"):
        assert part in shown
    [row] = json_of("ledger")
    assert row["epsilon"] == pytest.approx(spent)
    assert (row["owner"], row["budget_id"], row["unit"], row["records"]) == ("north", "icu", "record", 100)
    assert (row["budget"], row["remaining"], row["unsettled"]) == (None, None, 1)
    [spending] = row["runs"]
    assert (spending["run"], spending["rounds"], spending["uses"]) == ("run-of-north", 2, 2)
    assert spending["event"]["noise_multiplier"] == 10.0
    assert json_of("ledger", "--participant", "north") == [row]
    assert "there are: north" in refused("ledger", "--participant", "south")


def test_a_budget_is_set_shown_and_kept(folder: Path) -> None:
    done = run("budget", "set", "icu", "--epsilon", "8", "--note", "A. Officer, 2026")
    assert "the budget is ε 8, which leaves" in done
    assert "A. Officer, 2026" in run("budget", "show", "icu")
    [row] = json_of("budget", "show", "icu")
    assert (row["budget"]["epsilon"], row["budget"]["delta"]) == (8.0, 0.001)  # 1/(10 n) of 100 rows
    spent = epsilon([(Gaussian(10.0), 2)], 0.001)
    assert row["remaining"] == pytest.approx(8.0 - spent)

    run("budget", "set", "icu", "--epsilon", "0.01")
    ledger = Ledger(participant_ledger(folder, "north"))
    with pytest.raises(BudgetError):
        ledger.reserve("next", 1, [charge()], Tables())
    ledger.close()


def test_changed_data_are_accepted_by_a_person(folder: Path) -> None:
    assert "The next run may bring other rows" in run("budget", "set", "icu", "--accept-changed-data")
    ledger = Ledger(participant_ledger(folder, "north"))
    ledger.register("icu", rows(range(120)))
    ledger.close()
    [row] = json_of("budget", "show", "icu")
    assert (row["records"], row["changed_data_accepted"]) == (120, False)


def test_a_budget_for_data_that_were_never_used_needs_to_say_whose_and_how_small_delta_is(folder: Path) -> None:
    assert "--participant NAME" in refused("budget", "set", "ward", "--epsilon", "8")
    assert "give --delta" in refused("budget", "set", "ward", "--epsilon", "8", "--participant", "south")
    run("budget", "set", "ward", "--epsilon", "8", "--participant", "south", "--delta", "1e-6")
    run("budget", "set", "ward", "--epsilon", "3", "--delta", "1e-6")  # now it is known whose
    assert [row["budget"]["epsilon"] for row in json_of("budget", "show", "ward")] == [3.0]
    run("budget", "set", "all", "--epsilon", "8", "--federation", "--delta", "0.01", "--unit", "participant")
    assert json_of("ledger", "--participant", "the federation")[0]["unit"] == "participant"
    run("budget", "set", "ward", "--epsilon", "8", "--participant", "north", "--delta", "1e-6")
    assert "several ledgers" in refused("budget", "set", "ward", "--epsilon", "8", "--delta", "1e-6")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "--epsilon, or --accept-changed-data"),
        (["--epsilon", "0"], "above 0"),
        (["--epsilon", "inf"], "finite"),
        (["--epsilon", "8", "--delta", "0"], "delta is 0"),
        (["--epsilon", "8", "--delta", "0.01"], "100 units"),
        (["--epsilon", "8", "--unit", "person"], "record, block, participant"),
        (["--epsilon", "8", "--unit", "block"], "give --delta"),
        (["--epsilon", "8", "--federation", "--participant", "x"], "not both"),
    ],
)
def test_what_no_budget_can_be_is_refused_with_what_to_do(folder: Path, options: list[str], complaint: str) -> None:
    assert complaint in refused("budget", "set", "icu", *options)
    assert json_of("budget", "show", "icu")[0]["budget"] is None


def test_a_budget_that_nobody_has_is_not_shown(folder: Path) -> None:
    assert "no ledger has a budget ward" in refused("budget", "show", "ward")


def test_a_notebook_calls_the_same(folder: Path) -> None:
    [row] = foedus.set_privacy_budget("icu", epsilon=5.0)
    assert foedus.privacy_ledger("north") == [row]
    with pytest.raises(ConfigError):
        foedus.set_privacy_budget("icu", epsilon=-1.0)
    with pytest.raises(LedgerError):
        foedus.privacy_ledger("south")
