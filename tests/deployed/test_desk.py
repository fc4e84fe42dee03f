"""Runs are submitted, seen, stopped and fetched from a researcher's machine, as on the coordinator's."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deployed.desks import a_run, desk, federation
from foedus.api import run_source as run_source_module
from foedus.api.results import fetch_run, resume_run, runs_of_federation, stop_run
from foedus.api.run_queue import STOP
from foedus.api.run_source import run_source
from foedus.api.submit import as_submitted, submit
from foedus.api.watch import WatchServer
from foedus.cli.main import app
from foedus.core.errors import ConfigError, LinkError, RunFolderError
from foedus.engines.kits.kit import Kit
from foedus.federation.events import RoundStarted, RunStarted
from foedus.federation.orders import read_orders
from foedus.federation.state import StateFile, read_state
from foedus.reporting.live import view


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Kit]:
    return federation(tmp_path_factory.mktemp("league"))


class Serving:
    """A coordinator's desk that can be closed and opened again, as by a restart."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._stack = ExitStack()

    def open(self) -> None:
        self._stack.enter_context(desk(self._kit))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(autouse=True)
def served(kits: Mapping[str, Kit]) -> Iterator[Serving]:
    serving = Serving(kits["coordinator"])
    serving.open()
    yield serving
    serving.close()


@pytest.fixture
def ada(kits: Mapping[str, Kit]) -> Path:
    return kits["ada"].folder


def runs(kits: Mapping[str, Kit]) -> Path:
    return kits["coordinator"].folder / "runs"


def over(kits: Mapping[str, Kit], name: str) -> Path:
    """Make a run that is over, with what it keeps to itself, and links."""
    run = runs(kits) / name
    for part in ("model", "checkpoints/000001", "outbox", "baselines/pooled"):
        (run / part).mkdir(parents=True)
        (run / part / "file").write_bytes(os.urandom(300_000) if part == "model" else part.encode())
    for part in ("config.yaml", "rounds.jsonl", ".run-id", "ground.json", "summary.json", "report.html", "empty"):
        (run / part).write_text("" if part == "empty" else part)
    (run / "model" / "link").symlink_to(kits["coordinator"].folder / "startup" / "server.key")
    (run / "model" / "base").mkdir()
    (run / "model" / "base" / "file").symlink_to("../file")
    (run / "model" / "base" / "kept").symlink_to("../../checkpoints/000001/file")
    (run / "model" / "base" / "hidden").symlink_to("../../.run-id")
    (run / "linked").symlink_to(kits["coordinator"].folder / "startup")
    return run


def command(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_run_is_submitted_as_on_the_coordinators_machine(kits: Mapping[str, Kit], ada: Path, tmp_path: Path) -> None:
    for name, kit in (("from-ada", ada), ("at-home", kits["coordinator"].folder)):
        code, output = command("submit", a_run(tmp_path, name), "--federation", kit)
        assert code == 0, output
    there = {name: yaml.safe_load((runs(kits) / name / "config.yaml").read_text()) for name in ("from-ada", "at-home")}
    assert there["from-ada"]["secure_sum"]["kind"] == "masks"
    assert there["from-ada"]["participants"]["train"] == "*.csv"
    for values in there.values():  # what says where on a machine: nothing of a run between organisations is read there
        values.pop("name"), values.pop("participants"), values.pop("output")
    assert there["from-ada"] == there["at-home"]
    assert [(order.by, order.what) for order in read_orders(runs(kits) / "from-ada")] == [("ada", "submit")]
    assert {run.run: run.by for run in runs_of_federation(ada)} | {} == {"from-ada": "ada", "at-home": "coordinator"}
    code, output = command("status", ada, "--run", "from-ada")
    assert code == 0
    assert "waits for its turn" in output
    assert "submitted by ada" in output
    assert command("status", ada, "--all") == command("status", kits["coordinator"].folder, "--all")


def test_what_cannot_be_played_is_refused_by_name(kits: Mapping[str, Kit], ada: Path, tmp_path: Path) -> None:
    submit(as_submitted(a_run(tmp_path, "taken")), ada)
    with pytest.raises(LinkError, match="there is a run taken already"):
        submit(as_submitted(a_run(tmp_path, "taken")), ada)
    noise = {"kind": "records", "noise_multiplier": 1}
    with pytest.raises(ConfigError, match="follows from each organisation's number of rows"):
        submit(as_submitted(a_run(tmp_path, "noisy", privacy=noise)), ada)
    (tmp_path / "model").mkdir()
    for path in ("./model", "model", str(tmp_path / "model")):
        with pytest.raises(ConfigError, match=r"model.path: .* the coordinator reads no files of researchers"):
            submit(as_submitted(a_run(tmp_path, "local", model={"path": path})), ada)
    with pytest.raises(ConfigError, match=r"strategy: custom is a program"):
        submit(as_submitted(a_run(tmp_path, "custom", strategy={"kind": "custom", "path": "x.py"})), ada)
    assert not {"noisy", "local", "custom"} & {path.name for path in runs(kits).iterdir()}


def test_a_run_is_stopped_and_gone_on_with_and_its_records_say_by_whom(
    kits: Mapping[str, Kit], ada: Path, tmp_path: Path
) -> None:
    submit(as_submitted(a_run(tmp_path, "shared")), ada)
    stop_run(kits["eve"].folder, "shared")
    run = runs(kits) / "shared"
    assert (run / STOP).exists()
    resume_run(ada, "shared")
    assert not (run / STOP).exists()
    stop_run(kits["coordinator"].folder, "shared")
    asked = [(order.by, order.what) for order in read_orders(run)]
    assert asked == [("ada", "submit"), ("eve", "stop"), ("ada", "resume"), ("coordinator", "stop")]
    assert "stopped by eve" in command("status", ada, "--run", "shared")[1]
    for ask in (stop_run, resume_run):
        with pytest.raises(RunFolderError, match="has no run nobody"):
            ask(ada, "nobody")
        for name in ("../kit.json", "/etc", "", "a/b", "a\n", "."):
            with pytest.raises(LinkError, match="is no name of a run"):
                ask(ada, name)


def test_fetching_brings_what_the_run_came_to_and_nothing_else(
    kits: Mapping[str, Kit], ada: Path, tmp_path: Path
) -> None:
    run = over(kits, "done")
    fetch_run(ada, "done", tmp_path / "far")
    fetch_run(kits["coordinator"].folder, "done", tmp_path / "near")
    found = {
        where: {
            path.relative_to(tmp_path / where).as_posix(): path.read_bytes()
            for path in (tmp_path / where).rglob("*")
            if path.is_file()
        }
        for where in ("far", "near")
    }
    assert found["far"] == found["near"]
    expected = {"model/file", "baselines/pooled/file", "config.yaml", "rounds.jsonl", "summary.json", "report.html"}
    assert set(found["far"]) == {*expected, "empty", "model/base/file"}
    assert found["far"]["model/base/file"] == found["far"]["model/file"]  # a link to what is fetched anyway
    assert found["far"]["model/file"] == (run / "model" / "file").read_bytes()
    with pytest.raises(LinkError, match="is there already"):
        fetch_run(ada, "done", tmp_path / "far")
    (run / "summary.json").unlink()
    with pytest.raises(LinkError, match="the run done is not over"):
        fetch_run(ada, "done", tmp_path / "early")
    assert not (tmp_path / "early").exists()


def test_the_page_shows_the_same_at_a_researchers_though_the_coordinator_is_restarted(
    kits: Mapping[str, Kit], ada: Path, served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_source_module, "EVERY_S", 0.0)
    run = runs(kits) / "watched"
    state = StateFile(run, "watched", ["north", "south"])
    (run / "config.yaml").write_text("privacy: {kind: records, epsilon: 8}\n")
    (run / "rounds.jsonl").write_text(json.dumps({"round": 0, "privacy": {"epsilon": 0.5}, "cohort": []}) + "\n")
    state(RunStarted("watched", ("north", "south"), 10, 1, "accuracy", True, 5, "cpu"))
    with run_source(ada, "watched") as source:
        copy = source()
        served.close()
        assert source() == copy  # while the coordinator is away, the last state is shown, and how old it is
        with pytest.raises(LinkError, match="is not reached at localhost"):
            runs_of_federation(ada)
        state(RoundStarted(3, ("south",)))
        served.open()
        assert read_state(source()) == state.state
        assert view(copy) == view(run)
        assert "Spent so far: ε 0.5 of ε 8" in view(copy)
        (run / "rounds.jsonl").unlink()
        assert source() == copy
        assert not (copy / "rounds.jsonl").exists()
    server = WatchServer(ada, "watched")
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert read_state(server.run()).round == 3
    finally:
        server.close()
        thread.join()


def test_who_is_silent_keeps_nobody_waiting(kits: Mapping[str, Kit], ada: Path) -> None:
    port = kits["coordinator"].league.researchers_port
    assert port is not None
    with socket.create_connection(("localhost", port)):
        assert isinstance(list(runs_of_federation(ada)), list)


def test_a_participants_kit_submits_nothing(kits: Mapping[str, Kit], tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="the kit of the participant south"):
        submit(as_submitted(a_run(tmp_path, "mine")), kits["south"].folder)
    code, output = command("status", kits["south"].folder)
    assert (code, "the kit of the participant south" in output) == (2, True)
