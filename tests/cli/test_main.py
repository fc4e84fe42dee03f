import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from foedus.cli.main import app
from foedus.config.loading import load_config
from foedus.config.sections import RunConfig
from foedus.config.structure import kinds_of
from foedus.config.yaml_text import parse

runner = CliRunner(env={"COLUMNS": "200"})


def test_help_names_every_command() -> None:
    said = runner.invoke(app, ["--help"]).stdout
    for command in ("init", "explain", "run", "compare", "predict", "generate", "schema"):
        assert f" {command} " in said


def test_nothing_at_all_shows_the_help() -> None:
    assert "Usage: foedus" in runner.invoke(app, []).output


@pytest.mark.parametrize("command", ["init", "explain", "run", "compare", "predict", "generate", "schema"])
def test_every_command_has_help(command: str) -> None:
    done = runner.invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert f"foedus {command}" in done.stdout


def test_help_loads_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "peft", "datasets", "pyarrow", "pandas", "numpy", "pydantic", "jinja2")
    program = f"import sys, foedus.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout == "[]\n"


def test_the_configuration_loads_no_model_library() -> None:
    heavy = ("torch", "transformers", "peft", "datasets", "pyarrow")
    modules = "foedus.config.loading, foedus.config.schema, foedus.config.problems, foedus.config.dump"
    program = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout == "[]\n"


def test_the_version_is_the_installed_one() -> None:
    assert runner.invoke(app, ["--version"]).stdout == f"foedus {version('foedus')}\n"


def test_the_schema_is_printed_for_editors() -> None:
    printed = json.loads(runner.invoke(app, ["schema"]).stdout)
    small = "task: {kind: causal_lm, text: t}\nmodel: {path: gpt2}\nparticipants: {train: '*.csv'}"
    jsonschema.validate(parse(small, "text").value, printed)


def test_init_writes_a_file_that_loads_and_says_what_is_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, ["init", "mine.yaml", "--text", "note", "--label", "grade", "--model", "gpt2"])
    assert done.stdout.splitlines() == [
        "wrote mine.yaml",
        "- no file matches data/*.csv yet: put one file of each participant there, or change participants.train",
        "next: foedus explain mine.yaml",
    ]
    config = load_config("mine.yaml")
    assert (config.task.kind, config.model.kind) == ("text_classification", "checkpoint")


def test_init_offers_every_task() -> None:
    said = runner.invoke(app, ["init", "--help"]).stdout
    for kind in kinds_of(RunConfig.model_fields["task"]):
        assert kind in said


def test_a_misspelt_command_is_answered_with_the_nearest(tmp_path: Path) -> None:
    done = runner.invoke(app, ["rnu"])
    assert done.exit_code == 2
    assert "Did you mean 'run'?" in done.stderr
