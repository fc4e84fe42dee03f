import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app
from foedus.core.errors import ConfigError, DataError, FoedusError, RoundError, RunFolderError

PROGRAM = [sys.executable, "-c", "from foedus.cli.main import main; main()"]


def foedus(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as its own process."""
    return subprocess.run([*PROGRAM, *arguments], cwd=folder, text=True, capture_output=True, check=False)


def test_a_wrong_file_ends_with_its_problems_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "clinics.yaml").write_text("strategy: fedprx\ntask: causal_lm\nmodel: {path: a}\n")
    done = foedus("run", "clinics.yaml", "--quiet", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "clinics.yaml: task.text: is missing: the column that holds the text (line 2)",
        "clinics.yaml: participants: is missing: who takes part, and with which rows; choose files, partition or "
        "scenario",
        "clinics.yaml: strategy.kind: unknown 'fedprx'; did you mean 'fedprox'? (line 1)",
    ]


def test_a_mistake_in_the_file_is_told_before_heavy_libraries_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "foedus.api", None)  # importing it would fail
    for command in ("run", "explain", "compare"):
        done = CliRunner().invoke(app, [command, str(tmp_path / "none.yaml")])
        assert done.exit_code == 2
        assert "none.yaml does not exist" in done.stderr


def test_debug_shows_where_an_error_arises(tmp_path: Path) -> None:
    done = foedus("explain", "clinics.yaml", "--debug", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("foedus.core.errors.ConfigError: clinics.yaml does not exist")


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("wrong"), 2), (DataError("wrong"), 2), (RunFolderError("wrong"), 2), (RoundError("wrong"), 1)],
)
def test_a_failed_run_and_a_refused_one_have_different_exit_codes(
    error: FoedusError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("foedus.config.starter.write_starter", fail)
    done = CliRunner().invoke(app, ["init"])
    assert (done.exit_code, done.stderr) == (code, "wrong\n")


def test_a_mistake_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foedus.config.starter.write_starter", lambda: None)
    done = CliRunner().invoke(app, ["init"])
    assert isinstance(done.exception, TypeError)
