import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app

runner = CliRunner()


@pytest.mark.end_to_end
def test_own_files_become_a_run_without_problems_in_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sites").mkdir()
    for name in ("north", "south"):
        rows = "".join(f"{row // 2};case {row} of {name};{'II' if row % 2 else 'I'}\n" for row in range(40))
        (tmp_path / "sites" / f"{name}.csv").write_text("patient_id;Befund;Stadium\n" + rows)
    done = runner.invoke(app, ["init", "--data", "sites/*.csv"])
    assert done.exit_code == 0, done.output
    done = runner.invoke(app, ["explain", "foedus.yaml", "--json"])
    assert done.exit_code == 0, done.output
    explanation = json.loads(done.stdout)
    assert explanation["problems"] == []
    assert explanation["labels"] == ["I", "II"]
    assert [site["name"] for site in explanation["participants"]] == ["north", "south"]
    assert explanation["sent"] < explanation["total"] / 50
