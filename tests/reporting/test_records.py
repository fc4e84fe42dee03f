import json
import math
from pathlib import Path

import pytest

from foedus.core.errors import RunFolderError
from foedus.reporting.records import read_comparison, read_rounds, read_run, read_summary
from reporting.made_runs import HOSPITALS, MadeRun, make_comparison, make_run


def test_a_run_folder_is_read_whole(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path))
    assert [record.round for record in run.rounds] == list(range(11))
    assert run.participants == HOSPITALS
    assert run.participant_count == 8
    assert run.split == "test"
    assert run.summary.sites is not None
    assert run.summary.sites["eye_clinic"].test == 125
    assert run.rounds[3].sites["eye_clinic"].train["loss"] > 0


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round": 11, "stood": tr')
    assert read_rounds(folder)[-1].round == 10


def test_a_damaged_line_before_the_last_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    lines[4] = lines[4][:20]
    (folder / "rounds.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl is damaged: line 5"):
        read_rounds(folder)


def test_a_line_that_is_no_record_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "rounds.jsonl").write_text('{"round": 1, "train": {"loss": "low"}}\n')
    with pytest.raises(RunFolderError, match=r"line 1 is damaged: train\.loss"):
        read_rounds(folder)


def test_of_a_repeated_round_the_last_record_counts(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "rounds.jsonl").write_text('{"round": 2, "reports": 1}\n{"round": 1}\n{"round": 2, "reports": 5}\n')
    assert [(record.round, record.reports) for record in read_rounds(folder)] == [(1, 0), (2, 5)]


def test_unknown_keys_of_later_versions_are_ignored(tmp_path: Path) -> None:
    folder = make_run(tmp_path, MadeRun(summary={"signatures": {"epsilon": 3.0}}))
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round": 11, "signatures": {"spent": 1}}\n')
    assert read_run(folder).rounds[-1].round == 11


@pytest.mark.parametrize("written", ["NaN", "null"])
def test_a_metric_that_is_null_or_nan_is_nan(tmp_path: Path, written: str) -> None:
    folder = make_run(tmp_path)
    (folder / "rounds.jsonl").write_text(f'{{"round": 1, "evaluation": {{"all": {{"loss": {written}}}}}}}\n')
    evaluation = read_rounds(folder)[0].evaluation
    assert evaluation is not None
    assert evaluation.all is not None
    assert math.isnan(evaluation.all["loss"])


@pytest.mark.parametrize("name", ["summary.json", "rounds.jsonl", "config.yaml"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path)
    (folder / name).unlink()
    with pytest.raises(RunFolderError, match=f"holds no {name}.*--resume"):
        read_run(folder)


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no run folder"):
        read_run(tmp_path / "nowhere")


def test_a_damaged_summary_says_where(tmp_path: Path) -> None:
    folder = make_run(tmp_path, MadeRun(summary={"parameters": {"total": "many"}}))
    with pytest.raises(RunFolderError, match=r"summary\.json is damaged: parameters\.total"):
        read_summary(folder)
    (folder / "summary.json").write_text("{")
    with pytest.raises(RunFolderError, match="not valid JSON"):
        read_summary(folder)


def test_a_comparison_is_read_with_its_missing_figures(tmp_path: Path) -> None:
    comparison = read_comparison(make_comparison(tmp_path))
    local = next(arm for arm in comparison.arms if arm.name == "local only")
    assert local.runs[0].all is None
    assert local.runs[0].all_by_site is not None
    assert comparison.arms[0].runs[0].curve[0][0] == 0
    assert comparison.arms[3].runs[0].bytes is None


def test_a_round_before_training_needs_only_its_number(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "rounds.jsonl").write_text(json.dumps({"round": 0, "evaluation": None}) + "\n")
    assert read_rounds(folder)[0].stood
