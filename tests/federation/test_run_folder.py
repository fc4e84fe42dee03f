from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foedus.core.errors import RunFolderError
from foedus.federation.run_folder import RunFolder, is_taken, opened, refuse_or_clear

HOLD = """
import sys
from pathlib import Path
from foedus.federation.run_folder import RunFolder, opened
with opened(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "clinics")


@contextmanager
def held_by_another_process(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_one_process_at_a_time_holds_a_folder(folder: RunFolder) -> None:
    with (
        held_by_another_process(folder),
        pytest.raises(RunFolderError, match="clinics is in use by another run"),
        opened(folder),
    ):
        pytest.fail("two runs would write into one folder")


def test_a_killed_run_holds_nothing(folder: RunFolder) -> None:
    with held_by_another_process(folder) as other:
        other.kill()
        other.wait()
        with opened(folder):
            assert folder.path.is_dir()


def test_a_folder_can_be_held_again_after_its_run(folder: RunFolder) -> None:
    for _ in range(2):
        with opened(folder):
            pass


def test_a_folder_that_cannot_be_made_is_named(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with (
        pytest.raises(
            RunFolderError, match=r"runs/clinics cannot be written: Not a directory; choose another --output"
        ),
        opened(folder),
    ):
        pytest.fail("there is no such folder")


def test_a_configuration_alone_is_no_run_yet(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.config.write_text("name: clinics")
    assert not is_taken(folder)
    refuse_or_clear(folder, overwrite=False)
    folder.append({"round": 0})
    assert is_taken(folder)


def test_records_come_back_in_the_order_written(folder: RunFolder) -> None:
    assert folder.records() == []
    folder.path.mkdir(parents=True)
    sizes = [folder.append({"round": number, "cohort": ["Süd"]}) for number in range(3)]
    assert folder.records() == [{"round": number, "cohort": ["Süd"]} for number in range(3)]
    assert sizes[-1] == folder.rounds.stat().st_size
    folder.truncate_records(sizes[0])
    assert [record["round"] for record in folder.records()] == [0]


def test_a_line_that_a_crash_cut_short_is_no_record(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.append({"round": 0})
    with folder.rounds.open("a") as file:
        file.write('{"round": 1, "sto')
    assert folder.records() == [{"round": 0}]


def test_a_number_that_json_has_not_is_never_written(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.append({"loss": float("nan")})


def test_a_text_is_replaced_as_a_whole(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.write(folder.summary, "old")
    folder.write(folder.summary, "new")
    assert folder.summary.read_text() == "new"
    assert [path.name for path in folder.path.iterdir()] == ["summary.json"]


def test_a_text_that_could_not_be_written_leaves_the_old_one(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.write(folder.summary, "old")
    with pytest.raises(UnicodeEncodeError):
        folder.write(folder.summary, "\ud800")
    assert folder.summary.read_text() == "old"


def test_a_new_or_empty_folder_is_free(folder: RunFolder) -> None:
    refuse_or_clear(folder, overwrite=False)
    with opened(folder):
        (folder.path / ".DS_Store").touch()
        refuse_or_clear(folder, overwrite=False)


def filled(folder: RunFolder) -> None:
    (folder.path / "checkpoints" / "round-00001").mkdir(parents=True)
    folder.config.write_text("name: clinics")
    folder.append({"round": 0})


def test_a_folder_with_a_run_is_refused_with_the_three_ways_on(folder: RunFolder) -> None:
    filled(folder)
    with pytest.raises(RunFolderError) as caught:
        refuse_or_clear(folder, overwrite=False)
    assert f"foedus run --resume {folder.path}" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert folder.rounds.exists()


def test_overwriting_leaves_nothing_of_the_old_run(folder: RunFolder) -> None:
    filled(folder)
    with opened(folder):
        refuse_or_clear(folder, overwrite=True)
        assert [path.name for path in folder.path.iterdir()] == [".lock"]


def test_a_folder_of_something_else_is_never_overwritten(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.docx").touch()
    with pytest.raises(RunFolderError, match="is not a run's folder, so it is not overwritten"):
        refuse_or_clear(folder, overwrite=True)
    assert (folder.path / "thesis.docx").exists()


def test_overwriting_deletes_a_link_and_not_what_it_leads_to(folder: RunFolder, tmp_path: Path) -> None:
    filled(folder)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data.csv").touch()
    (folder.path / "model").symlink_to(tmp_path / "precious")
    refuse_or_clear(folder, overwrite=True)
    assert not folder.model.exists()
    assert (tmp_path / "precious" / "data.csv").exists()
