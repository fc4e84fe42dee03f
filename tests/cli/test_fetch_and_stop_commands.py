from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app

FEDERATION = "name: league\ncoordinator: {host: localhost}\norganisations: [north, south]\n"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator's kit with two runs: one is over, one goes on."""
    folder = tmp_path_factory.mktemp("league")
    (folder / "federation.yaml").write_text(FEDERATION)
    made = CliRunner().invoke(app, ["provision", str(folder / "federation.yaml"), "--folder", str(folder / "kits")])
    assert made.exit_code == 0, made.output
    kit = folder / "kits" / "coordinator"
    for name in ("over", "going"):
        run = kit / "runs" / name
        for part in ("model", "checkpoints/000001", "outbox"):
            (run / part).mkdir(parents=True)
            (run / part / "file").write_text(part)
        for part in ("config.yaml", "rounds.jsonl", ".run-id", "ground.json"):
            (run / part).write_text(part)
    (kit / "runs" / "over" / "summary.json").write_text("{}")
    (kit / "runs" / "over" / "report.html").write_text("report")
    return kit


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_fetching_copies_what_a_run_came_to_and_nothing_that_participants_remember(kit: Path, tmp_path: Path) -> None:
    code, output = _run("fetch", "over", "--federation", str(kit), "--to", str(tmp_path / "results"))
    assert (code, "report.html" in output) == (0, True)
    found = {str(path.relative_to(tmp_path / "results")) for path in (tmp_path / "results").rglob("*")}
    assert found == {"config.yaml", "model", "model/file", "report.html", "rounds.jsonl", "summary.json"}


def test_nothing_is_fetched_over_something_or_before_its_time(kit: Path, tmp_path: Path) -> None:
    assert _run("fetch", "going", "--federation", str(kit), "--to", str(tmp_path / "a"))[0] == 2
    (tmp_path / "b").mkdir()
    code, output = _run("fetch", "over", "--federation", str(kit), "--to", str(tmp_path / "b"))
    assert (code, "is there already" in output) == (2, True)
    assert not list(tmp_path.glob("a")) + list((tmp_path / "b").iterdir())


def test_stopping_asks_the_coordinator_while_a_run_goes_on_and_resuming_takes_it_back(kit: Path) -> None:
    assert _run("stop", "going", "--federation", str(kit))[0] == 0
    assert (kit / "runs" / "going" / "stop").exists()
    code, output = _run("stop", "over", "--federation", str(kit))
    assert (code, "is over already" in output) == (2, True)
    assert _run("resume", "going", "--federation", str(kit))[0] == 0
    assert not (kit / "runs" / "going" / "stop").exists()
    code, output = _run("resume", "over", "--federation", str(kit))
    assert (code, "came to its end" in output) == (2, True)


def test_an_organisations_kit_holds_no_runs_to_stop_or_fetch(kit: Path) -> None:
    for command in ("stop", "resume", "fetch"):
        code, output = _run(command, "over", "--federation", str(kit.parent / "north"))
        assert (code, "a coordinator's kit is needed" in output) == (2, True)
