import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app
from foedus.federation.state import StateFile


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A coordinator's kit with two runs, the later one over."""
    older = StateFile(tmp_path / "runs" / "older", "older", ["north"])
    older.waits("for organisations")
    later = StateFile(tmp_path / "runs" / "later", "later", ["north", "[bold]south"])
    later.refused("[bold]south", "allow.runs is other-*")
    later.stopped("foedus stop was given")
    return tmp_path


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_the_latest_run_is_shown_and_names_are_no_markup(kit: Path) -> None:
    code, output = _run("status", str(kit))
    assert code == 0
    for text in ("later is stopped: foedus stop was given", "[bold]south", "allow.runs is other-*", "refused"):
        assert text in output


def test_another_run_is_shown_by_its_name(kit: Path) -> None:
    code, output = _run("status", str(kit), "--run", "older", "--json")
    assert (code, json.loads(output)["note"]) == (0, "for organisations")


def test_a_run_that_there_is_not_is_named(kit: Path, tmp_path: Path) -> None:
    code, output = _run("status", str(kit), "--run", "none")
    assert (code, "there are later, older" in output) == (2, True)
    code, output = _run("status", str(tmp_path / "runs" / "older" / "x"))
    assert (code, "holds no run between organisations yet" in output) == (2, True)


def test_watching_a_run_that_is_over_ends(kit: Path) -> None:
    code, output = _run("watch", str(kit))
    assert (code, "later is stopped" in output) == (0, True)
