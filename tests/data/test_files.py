from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from foedus.core.errors import DataError
from foedus.data.files import find_files, find_sites, is_safe_name


def put(root: Path, *names: str, content: str = "text,label\nx,y\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def found(root: Path, *sources: object) -> dict[str, dict[str, str]]:
    files = find_files(root, *sources)  # type: ignore[arg-type] # test data of several kinds
    return {
        name: {split: path.relative_to(root).as_posix() for split, path in paths.items()}
        for name, paths in files.items()
    }


def test_a_glob_names_participants_by_file_stem_in_name_order(tmp_path: Path) -> None:
    put(tmp_path, "data/north.csv", "data/east.jsonl", "data/._east.csv")
    assert found(tmp_path, "data/*") == {"east": {"train": "data/east.jsonl"}, "north": {"train": "data/north.csv"}}


def test_a_glob_may_be_absolute_or_point_out_of_the_folder_of_the_configuration(tmp_path: Path) -> None:
    put(tmp_path, "data/north.csv")
    (tmp_path / "configs").mkdir()
    assert list(find_files(tmp_path / "configs", f"{tmp_path}/data/*.csv")) == ["north"]
    assert list(find_files(tmp_path / "configs", "../data/*.csv")) == ["north"]


def test_a_root_with_glob_characters_is_taken_literally(tmp_path: Path) -> None:
    put(tmp_path, "run [1]/data/north.csv")
    assert list(find_files(tmp_path / "run [1]", "data/*.csv")) == ["north"]


def test_one_file_without_wildcard_is_one_participant(tmp_path: Path) -> None:
    put(tmp_path, "north.csv")
    assert found(tmp_path, "north.csv") == {"north": {"train": "north.csv"}}


def test_splits_in_folders_of_their_own_are_matched_by_name(tmp_path: Path) -> None:
    put(tmp_path, "train/a.csv", "train/b.csv", "test/a.csv", "dev/b.csv")
    assert found(tmp_path, "train/*.csv", "dev/*.csv", "test/*.csv") == {
        "a": {"train": "train/a.csv", "test": "test/a.csv"},
        "b": {"train": "train/b.csv", "validation": "dev/b.csv"},
    }


def test_a_split_at_the_end_of_the_file_name_is_no_part_of_the_participants_name(tmp_path: Path) -> None:
    put(tmp_path, "a_train.csv", "a_test.csv", "b-train.csv", "b-test.csv")
    assert found(tmp_path, "*train.csv", None, "*test.csv") == {
        "a": {"train": "a_train.csv", "test": "a_test.csv"},
        "b": {"train": "b-train.csv", "test": "b-test.csv"},
    }


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    put(tmp_path, "data/a/train.csv", "data/b/train.csv", "data/b/test.csv")
    assert found(tmp_path, "data/*/train.csv", None, "data/*/test.csv") == {
        "a": {"train": "data/a/train.csv"},
        "b": {"train": "data/b/train.csv", "test": "data/b/test.csv"},
    }


def test_a_mapping_keeps_its_order_and_its_names(tmp_path: Path) -> None:
    put(tmp_path, "1.csv", "2.csv", "t.csv")
    assert found(tmp_path, {"St Mary": "2.csv", "Charité": "1.csv"}, None, {"Charité": "t.csv"}) == {
        "St Mary": {"train": "2.csv"},
        "Charité": {"train": "1.csv", "test": "t.csv"},
    }


def test_a_dataset_dict_brings_its_own_splits_unless_files_are_given_for_them(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([{"text": "x"}])
    datasets.DatasetDict(train=rows, validation=rows, test=rows, other=rows).save_to_disk(str(tmp_path / "d" / "a"))
    rows.save_to_disk(str(tmp_path / "d" / "b"))
    put(tmp_path, "t/a.csv")
    assert found(tmp_path, "d/*", None, "t/*.csv") == {
        "a": {"train": "d/a/train", "validation": "d/a/validation", "test": "t/a.csv"},
        "b": {"train": "d/b"},
    }


def test_sites_hold_the_columns_asked_for_and_the_group_in_training_alone(tmp_path: Path) -> None:
    put(tmp_path, "train/a.csv", content="patient,text,label,note\n7,x,y,z\n")
    put(tmp_path, "test/a.csv")
    (site,) = find_sites(tmp_path, "train/*.csv", ["text", "label"], {"text"}, test="test/*.csv", by="patient")
    assert site.name == "a"
    assert site.splits["train"].to_pylist() == [{"text": "x", "label": "y", "patient": 7}]
    assert site.splits["test"].column_names == ["text", "label"]
    assert [site.rows("train"), site.rows("validation"), site.rows("test")] == [1, 0, 1]


def test_a_group_column_that_is_read_anyway_is_not_read_twice(tmp_path: Path) -> None:
    put(tmp_path, "a.csv")
    (site,) = find_sites(tmp_path, "*.csv", ["text"], {"text"}, by="text")
    assert site.splits["train"].column_names == ["text"]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["data/*.tsv"], "participants.train: no file matches 'data/*.tsv' in "),
        (["data/*.csv", None, "tests/*.csv"], "participants.test: no file matches 'tests/*.csv' in "),
        ([{}], "participants.train lists no participant"),
        ([{"a": "data/c.csv"}], "participants.train: the file of 'a', "),
        (["data/*"], "participants.train: two participants are called 'a'; rename one"),
        (
            [{"A": "data/a.csv", "a": "data/b.csv"}],
            "two participants are called 'A' and 'a', which some systems confuse",
        ),
        ([{"../a": "data/a.csv"}], "participants.train: '../a' cannot name a participant; use letters, digits"),
        (
            ["data/*.csv", None, "test/*.csv"],
            "participants.test has a file of 'aa', which has none for training; did you mean 'a'? "
            "Participants with training files: a, b",
        ),
    ],
)
def test_participants_that_cannot_be_told_are_refused(
    sources: list[str | dict[str, str] | None], message: str, tmp_path: Path
) -> None:
    put(tmp_path, "data/a.csv", "data/b.csv", "data/a.jsonl", "test/aa.csv", "test/b.csv")
    with pytest.raises(DataError) as caught:
        find_files(tmp_path, *sources)  # type: ignore[arg-type] # a participant's source or None
    assert message in str(caught.value)


def test_one_file_in_two_places_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a_train.csv", "a_test.csv")
    with pytest.raises(DataError, match=r"a_test\.csv is both the test file of 'a' and the train file of 'a_test', so"):
        find_files(tmp_path, "*.csv", None, "*_test.csv")
    with pytest.raises(
        DataError, match=r"is both the train file of 'a' and the train file of 'b'.*; give each its own"
    ):
        find_files(tmp_path, {"a": "a_train.csv", "b": "./a_train.csv"})


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "-rf", "a ", " a", "a:b", "x" * 101, "a\n"])
def test_names_that_harm_as_file_names_are_unsafe(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["a", "7", "St Mary-2", "Klinik_Süd", "東京", "ward.3"])
def test_ordinary_names_are_safe(name: str) -> None:
    assert is_safe_name(name)
