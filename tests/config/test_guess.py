import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from foedus.config.guess import guess_group, guess_label, guess_text, read_sample
from foedus.core.errors import DataError

ROWS: list[dict[str, Any]] = [{"id": 1, "note": "a b", "ok": True}, {"id": 2, "note": "c; d, e", "ok": None}]


def test_a_sample_is_the_same_from_every_format(tmp_path: Path) -> None:
    expected = {"id": ["1", "2"], "note": ["a b", "c; d, e"]}
    (tmp_path / "a.csv").write_text('id;note\n1;a b\n2;"c; d, e"\n')
    (tmp_path / "b.csv").write_text('\ufeffid,note\n1,a b\n2,"c; d, e"\n', encoding="utf-8")
    (tmp_path / "c.tsv").write_text("id\tnote\n1\ta b\n2\tc; d, e\n")
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    (tmp_path / "e.json").write_text(json.dumps(ROWS))
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "f.parquet")
    for path in sorted(tmp_path.iterdir()):
        sample = read_sample(path)
        assert {name: sample[name] for name in expected} == expected, path.name


def test_a_file_that_cannot_be_read_is_refused_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("secret")
    with pytest.raises(DataError) as error:
        read_sample(tmp_path / "a.jsonl")
    assert str(error.value).endswith("a.jsonl cannot be read to guess its columns (JSONDecodeError); give --text")


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        ({"label": ["long long long"], "text": ["x"]}, "text"),
        ({"Text": ["x"], "hash": ["a" * 99]}, "Text"),
        ({"hash": ["a" * 99], "befund": ["no change", "none seen"]}, "befund"),
        ({}, None),
    ],
)
def test_texts_are_found_by_name_or_by_their_words(sample: dict[str, list[str]], text: str | None) -> None:
    assert guess_text(sample) == text


@pytest.mark.parametrize(
    ("sample", "label"),
    [
        ({"t": ["a", "b", "c", "d"], "stage": ["1", "2", "1", "2"]}, "stage"),
        ({"sex": ["m", "f", "m", "f"], "Diagnosis": ["x", "y", "x", "y"]}, "Diagnosis"),
        ({"label": ["a", "b", "c", "d", "e", "f"]}, None),
        ({"constant": ["a", "a", "a"]}, None),
        ({}, None),
    ],
)
def test_classes_are_found_by_name_or_by_being_few(sample: dict[str, list[str]], label: str | None) -> None:
    assert guess_label(sample, taken=["t"]) == label


def test_a_patient_is_a_group_only_if_some_have_several_rows() -> None:
    assert guess_group({"Patient ID": ["1", "1", "2"]}) == "Patient ID"
    assert guess_group({"patient_id": ["1", "2", "3"]}) is None
    assert guess_group({"text": ["1", "1", "2"]}) is None
