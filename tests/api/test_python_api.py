"""What a notebook calls."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import foedus
from end_to_end.small_runs import SITES, records, small_run, untimed, weights
from foedus.core.errors import ConfigError, DataError, RunFolderError
from foedus.federation.events import Event, ParticipantReported, RoundEnded, RoundStarted, RunEnded, RunStarted
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import LocalTask, Memory
from foedus.strategies.fedavg import fedavg


def test_the_package_itself_loads_nothing_heavy() -> None:
    program = "import sys, foedus; print([m for m in ('torch', 'pydantic', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there_and_no_other() -> None:
    for name in foedus.__all__:
        assert getattr(foedus, name).__doc__
    with pytest.raises(AttributeError, match="module 'foedus' has no attribute 'rnu'"):
        foedus.rnu  # noqa: B018 - looking it up is what is tested


@pytest.mark.end_to_end
def test_a_file_a_mapping_and_a_loaded_configuration_ask_for_the_same_run(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    results = [
        foedus.run(config, overwrite=True),
        foedus.run(path, overwrite=True),
        foedus.run(str(path), overwrite=True),
        foedus.run(foedus.load_config(path), overwrite=True),
    ]
    assert {result.summary["model_digest"] for result in results} == {results[0].summary["model_digest"]}
    changed = foedus.run(path, overrides=["local.learning_rate=3e-3", "name=changed"])
    assert changed.folder == tmp_path / "runs" / "changed"
    assert changed.summary["model_digest"] != results[0].summary["model_digest"]


@pytest.mark.end_to_end
def test_relative_paths_start_from_the_file_and_runs_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    config = small_run(project, participants={"train": "sites/*.csv"}, model={"path": "bert-none"})
    del config["output"]
    (project / "small.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = foedus.run("../project/small.yaml")
    assert result.folder == tmp_path / "here" / "runs" / "small"
    monkeypatch.chdir("/")
    assert foedus.resume(result.folder).summary["final"] == result.summary["final"]
    assert foedus.predict(str(result.folder), ["skin"])


@pytest.mark.end_to_end
def test_a_result_says_where_everything_is(tmp_path: Path) -> None:
    result = foedus.run(small_run(tmp_path))
    assert (result.folder, result.model) == (tmp_path / "runs" / "small", tmp_path / "runs" / "small" / "model")
    assert result.report == result.folder / "report.html"
    assert result.report.is_file()
    assert list(result.rounds) == records(result.folder)
    assert result.summary["final"] == result.rounds[-1]["evaluation"]


@pytest.mark.end_to_end
def test_observers_are_told_everything_in_order(tmp_path: Path) -> None:
    events: list[Event] = []
    result = foedus.run(small_run(tmp_path), observe=events.append)
    phases = [event.phase for event in events if isinstance(event, ParticipantReported)]
    assert phases == ["evaluate"] * 3 + (["train"] * 3 + ["evaluate"] * 3) * 2
    kinds = [type(event) for event in events if not isinstance(event, ParticipantReported)]
    assert kinds == [RunStarted, RoundEnded, RoundStarted, RoundEnded, RoundStarted, RoundEnded, RunEnded]
    assert [event.record for event in events if isinstance(event, RoundEnded)] == list(result.rounds)
    assert events[-1] == RunEnded(result.folder, result.model, result.report, result.summary)


@pytest.mark.end_to_end
def test_an_algorithm_of_ones_own_takes_the_place_of_the_configured_one(tmp_path: Path) -> None:
    """Each participant keeps count, and the run goes on with the same counts."""
    seen: list[float] = []

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        update, memory = fedavg().local(task, broadcast, memory)
        count = memory.get("count", {"value": update.averaged["delta"]["classifier.bias"].new_zeros(())})
        seen.append(float(count["value"]))
        return update, {**memory, "count": {"value": count["value"] + 1}}

    def stop(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 1:
            raise KeyboardInterrupt

    counting = replace(fedavg(), local=local)
    config = small_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        foedus.run(config, algorithm=counting, observe=stop)
    resumed = foedus.resume(tmp_path / "runs" / "small", algorithm=counting)
    assert seen == [0, 0, 0, 1, 1, 1]
    plain = foedus.run(config | {"name": "plain"})
    assert weights(resumed.folder) == weights(plain.folder)
    assert untimed(resumed.folder) == untimed(plain.folder)


@pytest.mark.end_to_end
def test_a_participant_without_test_rows_trains_and_is_not_measured(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    files = {site: str(tmp_path / "sites" / f"{site}.csv") for site in SITES}
    held_out = tmp_path / "held_out.csv"
    held_out.write_text("note,organ\nright skin,skin\npain in the chest,heart\n")
    result = foedus.run(config | {"participants": {"train": files, "test": {"west": str(held_out)}}})
    for record in result.rounds[1:]:
        assert (record["reports"], record["left_out"]) == (3, {})
        assert set(record["evaluation"]["sites"]) == {"west"}
    assert {site: held["test"] for site, held in result.summary["sites"].items()} == {"north": 0, "south": 0, "west": 2}


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ({"strategy": "fedprx"}, ConfigError, "strategy.kind: unknown 'fedprx'; did you mean 'fedprox'?"),
        ({"local": {"epoch": 2}}, ConfigError, "local.epoch: unknown key; did you mean 'epochs'?"),
        ({"participants": {"train": "none/*.csv"}}, DataError, "no file matches 'none/*.csv'"),
    ],
    ids=["an unknown name", "an unknown key", "no data"],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    broken: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    config = small_run(tmp_path, **broken)
    with pytest.raises(error) as refused:
        foedus.run(config)
    assert message in str(refused.value)
    assert not list(tmp_path.rglob("rounds.jsonl"))


def test_a_folder_without_a_finished_run_neither_predicts_nor_resumes(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run; name the folder that foedus run wrote"):
        foedus.predict(tmp_path, ["a text"])
    with pytest.raises(RunFolderError, match=r"holds no run \(there is no config.yaml\); start one with foedus run"):
        foedus.resume(tmp_path)
