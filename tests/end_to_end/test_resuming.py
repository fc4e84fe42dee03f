"""Going on with a run: when that is refused, and that what may change does not matter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import foedus
from end_to_end.small_runs import records, small_run, untimed, weights
from foedus.cli.main import app
from foedus.core.errors import RunFolderError
from foedus.federation.events import Event, RoundEnded
from tiny_models import tiny_folder

pytestmark = pytest.mark.end_to_end


class StoppedError(Exception):
    """Somebody pulled the plug."""


def stop_after(rounds: int) -> Callable[[Event], None]:
    """Return an observer that ends the run after so many rounds."""

    def observe(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == rounds:
            raise StoppedError

    return observe


def stopped(config: dict[str, Any], rounds: int = 1) -> Path:
    """Return the folder of a run that was stopped after so many rounds."""
    with pytest.raises(StoppedError):
        foedus.run(config, observe=stop_after(rounds))
    return Path(config["output"]["folder"], config["name"])


def test_a_finished_run_is_gone_on_with_by_writing_the_same_again(tmp_path: Path) -> None:
    result = foedus.run(small_run(tmp_path, model={"tuning": "lora"}))
    before = (weights(result.folder), records(result.folder), without_times(result.summary))
    shutil.rmtree(result.model)  # as if the disk had been full at the end
    again = foedus.resume(result.folder)
    assert (weights(again.folder), records(again.folder), without_times(again.summary)) == before
    assert foedus.predict(again.folder, ["right skin"])[0]["label"]


def without_times(summary: Any) -> dict[str, Any]:
    """Return a summary without the times that were taken."""
    kept = {name: value for name, value in summary.items() if name != "seconds"}
    return kept | {"tokens": summary["tokens"]["trained"]}


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    run = stopped(config, rounds=0)
    assert [record["round"] for record in records(run)] == [0]
    whole = foedus.run(config | {"name": "whole"}).folder
    resumed = foedus.resume(run).folder
    assert weights(resumed) == weights(whole)
    assert untimed(resumed) == untimed(whole)


def change_a_cell(folder: Path) -> None:
    file = folder / "sites" / "south.csv"
    file.write_text(file.read_text().replace("skin", "lung", 1))


def add_a_row(folder: Path) -> None:
    with (folder / "sites" / "south.csv").open("a") as file:
        file.write("right skin,skin,99\n")


def add_a_participant(folder: Path) -> None:
    shutil.copy(folder / "sites" / "south.csv", folder / "sites" / "east.csv")


def exchange_the_base_model(folder: Path) -> None:
    tiny_folder("bert", folder, seed=9, initializer_range=0.2)


def change_a_setting(folder: Path) -> None:
    path = folder / "runs" / "small" / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["local"]["learning_rate"] *= 2
    path.write_text(yaml.safe_dump(settings))


@pytest.mark.parametrize(
    "change",
    [change_a_cell, add_a_row, add_a_participant, exchange_the_base_model, change_a_setting],
    ids=lambda change: change.__name__,
)
def test_a_run_is_not_gone_on_with_where_it_would_end_differently(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    run = stopped(small_run(tmp_path, model={"tuning": "lora"}))
    before = (run / "rounds.jsonl").read_bytes()
    change(tmp_path)
    with pytest.raises(RunFolderError, match="start a new run"):
        foedus.resume(run)
    assert (run / "rounds.jsonl").read_bytes() == before
    assert (run / "checkpoints" / "round-00001").is_dir()


def test_where_a_run_writes_and_who_watches_may_change(tmp_path: Path) -> None:
    project = tmp_path / "project"
    config = small_run(project)
    relative = {
        "participants": {"train": "sites/*.csv"},
        "model": {"path": "./bert-none"},
        "output": {"folder": "runs"},
    }
    (project / "small.yaml").write_text(yaml.safe_dump(config | relative))
    with pytest.raises(StoppedError):
        foedus.run(project / "small.yaml", observe=stop_after(1))
    moved = project.rename(tmp_path / "elsewhere")
    (moved / "runs" / "small").rename(moved / "runs" / "renamed")
    resumed = foedus.resume(moved / "runs" / "renamed").folder
    whole = foedus.run(moved / "small.yaml").folder
    assert weights(resumed) == weights(whole)
    assert untimed(resumed) == untimed(whole)


def test_a_damaged_checkpoint_is_named_and_can_be_deleted(tmp_path: Path) -> None:
    config = small_run(tmp_path, rounds={"count": 3})
    run = stopped(config, rounds=2)
    newest = run / "checkpoints" / "round-00002"
    (newest / "server.safetensors").write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match=r"checkpoint .*round-00002 is damaged .* delete that folder"):
        foedus.resume(run)
    shutil.rmtree(newest)
    whole = foedus.run(config | {"name": "whole"}).folder
    resumed = foedus.resume(run).folder
    assert weights(resumed) == weights(whole)
    assert untimed(resumed) == untimed(whole)


def test_a_folder_that_holds_a_run_is_replaced_only_on_request(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    first = foedus.run(config)
    before = weights(first.folder)
    with pytest.raises(RunFolderError, match=r"already holds a run; go on with it \(foedus run --resume .*--overwrite"):
        foedus.run(config | {"seed": 5})
    assert weights(first.folder) == before

    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config | {"seed": 5}))
    command = ["run", str(tmp_path / "small.yaml"), "--quiet"]
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"{first.folder} already holds a run")
    done = CliRunner().invoke(app, [*command, "--overwrite"])
    assert (done.exit_code, done.stdout) == (0, "")
    assert weights(first.folder) != before
    assert json.loads((first.folder / "summary.json").read_text())["seed"] == 5


def test_what_is_no_run_is_never_replaced(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    (tmp_path / "runs" / "small").mkdir(parents=True)
    (tmp_path / "runs" / "small" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match="is not a run's folder, so it is not overwritten"):
        foedus.run(config, overwrite=True)
    assert (tmp_path / "runs" / "small" / "thesis.txt").read_text() == "years of work"
