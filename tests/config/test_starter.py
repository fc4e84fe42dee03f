from pathlib import Path

import pytest

from foedus.config import sections, starter
from foedus.config.loading import load_config
from foedus.config.problems import problems
from foedus.config.sections import RunConfig
from foedus.config.starter import MODELS, Wishes, write_starter
from foedus.config.structure import kinds_of
from foedus.core.errors import ConfigError

HEADER = "patient_id;Befund;Stadium\n"
ROWS = "".join(f"{row // 2};lungs unremarkable;{'I' * (1 + row % 2)}\n" for row in range(20))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the current one, with the files of two participants."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sites").mkdir()
    for name in ("north", "south"):
        (tmp_path / "sites" / f"{name}.csv").write_text(HEADER + ROWS)
    return tmp_path


@pytest.mark.parametrize("task", list(MODELS))
def test_a_starter_without_any_wish_is_a_run_without_problems(task: str, project: Path) -> None:
    path = project / "new" / "my run.yaml"
    write_starter(path, Wishes(task))
    config = load_config(path)
    assert config.task.kind == task
    assert config.name == "my-run"
    assert isinstance(config.model, sections.Checkpoint)
    assert isinstance(config.model.tuning, sections.Lora)
    assert problems(config) == []


def test_there_is_a_model_for_every_task() -> None:
    assert list(MODELS) == list(kinds_of(RunConfig.model_fields["task"]))


def test_columns_are_guessed_from_a_file_and_said(project: Path) -> None:
    written = write_starter(Path("foedus.yaml"), Wishes(data="sites/*.csv"))
    config = load_config("foedus.yaml")
    assert config.task == sections.TextClassification(text=("Befund",), label="Stadium")
    assert isinstance(config.participants, sections.Files)
    assert config.participants.train == "sites/*.csv"
    assert config.participants.split.by == "patient_id"
    assert written.notes[:4] == [
        "sites/*.csv matches the files of 2 participants: north, south",
        "task.text: guessed the column 'Befund'",
        "task.label: guessed the column 'Stadium'",
        "rows of one patient_id are kept on one side of the split (participants.split.by)",
    ]


def test_no_value_of_a_participant_is_written_or_said(project: Path) -> None:
    written = write_starter(Path("foedus.yaml"), Wishes(data="sites/*.csv"))
    assert "unremarkable" not in written.text + "".join(written.notes)


def test_wishes_are_met_and_not_guessed(project: Path) -> None:
    wishes = Wishes(data="sites/*.csv", text="Stadium", label="Befund", model="./my model")
    written = write_starter(Path("foedus.yaml"), wishes)
    config = load_config("foedus.yaml")
    assert config.task == sections.TextClassification(text=("Stadium",), label="Befund")
    assert isinstance(config.model, sections.Checkpoint)
    assert config.model.path == "./my model"
    assert not [note for note in written.notes if "guessed" in note]


def test_the_pattern_leads_from_the_file_to_the_data(project: Path) -> None:
    write_starter(project / "runs" / "a" / "x.yaml", Wishes(data="sites/*.csv"))
    participants = load_config(project / "runs" / "a" / "x.yaml").participants
    assert isinstance(participants, sections.Files)
    assert participants.train == "../../sites/*.csv"


def test_two_texts_are_guessed_for_sequences(project: Path) -> None:
    (project / "a.csv").write_text("article,summary\na long text,short\n")
    write_starter(Path("foedus.yaml"), Wishes("sequence_to_sequence", data="a.csv"))
    task = load_config("foedus.yaml").task
    assert task == sections.SequenceToSequence(source="article", target="summary")


def test_data_that_are_not_there_yet_are_left_as_an_example(project: Path) -> None:
    written = write_starter(Path("foedus.yaml"), Wishes())
    assert written.notes[0] == (
        "no file matches data/*.csv yet: put one file of each participant there, or change participants.train"
    )
    assert load_config("foedus.yaml").task == sections.TextClassification(text=("text",), label="label")


def test_a_package_is_used_only_where_it_is_installed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = starter.Model("some/checkpoint", "no-such-package-anywhere")
    monkeypatch.setattr(starter, "MODELS", {"text_classification": model})
    written = write_starter(Path("foedus.yaml"), Wishes())
    assert "\n  path: some/checkpoint\n" in written.text
    assert written.notes[-1] == (
        "model.path: some/checkpoint is downloaded at first use; a folder works without a network"
    )


@pytest.mark.parametrize(
    ("path", "wishes", "message"),
    [
        ("old.yaml", Wishes(), "old.yaml exists already; name another file, or overwrite it with --force"),
        (
            "sites/north.csv",
            Wishes(),
            "sites/north.csv: the file to write must end in .yaml; a --data pattern needs quotes, so that the shell "
            "leaves it as it is",
        ),
        ("a.yaml", Wishes("causallm"), "--task: unknown 'causallm'; did you mean 'causal_lm'?"),
        (
            "a.yaml",
            Wishes(data="sites/*.csv", text="Befun"),
            "sites/north.csv has no column 'Befun' for task.text; did you mean 'Befund'?",
        ),
        (
            "a.yaml",
            Wishes(data="sites/*.csv", label="x"),
            "sites/north.csv has no column 'x' for task.label; it has: patient_id, Befund, Stadium",
        ),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(project: Path, path: str, wishes: Wishes, message: str) -> None:
    (project / "old.yaml").write_text("mine")
    with pytest.raises(ConfigError) as error:
        write_starter(Path(path), wishes)
    assert str(error.value).replace(f"{project}/", "") == message
    assert (project / "old.yaml").read_text() == "mine"


def test_force_overwrites(project: Path) -> None:
    (project / "old.yaml").write_text("mine")
    write_starter(Path("old.yaml"), Wishes(), force=True)
    assert load_config("old.yaml").name == "old"
