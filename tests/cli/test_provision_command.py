import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app

FEDERATION = "name: league\ncoordinator: {host: localhost}\norganisations: [north, south]\n"


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["provision", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def _printed(output: str, name: str) -> str:
    [line] = [line for line in output.splitlines() if line.endswith(f"  {name}")]
    return line.split()[0]


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_both_ways_make_the_same_kits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("federation.yaml").write_text(FEDERATION)
    _run("federation.yaml")
    authority = _printed(_run("begin", "federation.yaml"), "authority")
    parties = ["coordinator", "north", "south"]
    for name in parties:
        invited = ("authority/federation.invitation", name, "--home", f"home/{name}", "--fingerprint", authority)
        own = _printed(_run("request", *invited), name)
        output = _run("sign", f"home/{name}/{name}.request", "--fingerprint", own)
    assert "grants/north.grant" in output
    for name in parties:
        _run("kit", f"authority/grants/{name}.grant", "--home", f"home/{name}", "--folder", f"kit/{name}")
        together, apart = Path("federation-kits", name), Path("kit", name)
        assert _files(together) == _files(apart)
        for file in ("local/resources.json", "local/authorization.json", "participant.yaml", "start.sh"):
            if (together / file).exists():
                assert (together / file).read_text() == (apart / file).read_text()
        described = [json.loads((kit / "kit.json").read_text()) for kit in (together, apart)]
        assert described[0]["league"] == described[1]["league"]


def test_kits_that_are_there_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("federation.yaml").write_text(FEDERATION)
    Path("federation-kits").mkdir()
    Path("federation-kits", "mine").write_text("keep")
    result = CliRunner().invoke(app, ["provision", "federation.yaml"])
    assert (result.exit_code, Path("federation-kits", "mine").read_text()) == (2, "keep")
    assert "is there already" in result.output


def test_a_person_is_asked_for_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("federation.yaml").write_text(FEDERATION)
    _run("begin", "federation.yaml")
    asked = ["provision", "request", "authority/federation.invitation", "north"]
    assert CliRunner().invoke(app, asked, input="n\n").exit_code == 1
    assert not Path("home").exists()
    assert CliRunner().invoke(app, asked, input="y\n").exit_code == 0
