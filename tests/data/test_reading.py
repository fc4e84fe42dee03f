from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foedus.core.errors import DataError
from foedus.data.reading import datasets_splits, read_table

ROWS = [{"text": "a, b\nc", "label": "01", "age": 3}, {"text": "ä", "label": "02", "age": 4}]
PRIVATE = "Ms Secret, HIV positive"  # a row's content, which must not get into an error


def write_csv(path: Path) -> Path:
    file = path / "a.csv"
    file.write_text('age,text,label\n3,"a, b\nc",01\n4,ä,02\n', encoding="utf-8")
    return file


def write_semicolons(path: Path) -> Path:
    file = path / "a.csv"
    file.write_text('age;text;label\n3;"a, b\nc";01\n4;ä;02\n', encoding="utf-8")
    return file


def write_excel_csv(path: Path) -> Path:
    file = path / "a.CSV"
    file.write_bytes('\ufeffage,text,label\r\n3,"a, b\nc",01\r\n4,ä,02\r\n'.encode())
    return file


def write_tsv(path: Path) -> Path:
    file = path / "a.tsv"
    file.write_text('age\ttext\tlabel\n3\t"a, b\nc"\t01\n4\tä\t02\n', encoding="utf-8")
    return file


def write_json_lines(path: Path) -> Path:
    file = path / "a.jsonl"
    file.write_text("\n\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    return file


def write_json_list(path: Path) -> Path:
    file = path / "a.json"
    file.write_text("\n" + json.dumps(ROWS, indent=1), encoding="utf-8")
    return file


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), path / "a.parquet")
    return path / "a.parquet"


def write_datasets_folder(path: Path) -> Path:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(path / "a"))
    return path / "a"


@pytest.mark.parametrize(
    "write",
    [
        write_csv,
        write_semicolons,
        write_excel_csv,
        write_tsv,
        write_json_lines,
        write_json_list,
        write_parquet,
        write_datasets_folder,
    ],
)
def test_every_format_gives_the_same_rows(write: Callable[[Path], Path], tmp_path: Path) -> None:
    table = read_table(write(tmp_path), ["label", "text", "age"], {"text", "label"})
    assert table.to_pylist() == [{"label": r["label"], "text": r["text"], "age": r["age"]} for r in ROWS]
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "int64"]


def test_numbers_in_text_columns_become_strings(tmp_path: Path) -> None:
    rows = [{"label": 1, "flag": True, "size": 2.5}, {"label": 0, "flag": False, "size": 1e20}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        table = read_table(tmp_path / name, ["label", "flag", "size"], {"label", "flag", "size"})
        assert table.to_pylist() == [
            {"label": "1", "flag": "true", "size": "2.5"},
            {"label": "0", "flag": "false", "size": "1e+20"},
        ]


def test_texts_that_look_like_missing_values_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nNA,null\nNaN,None\n")
    assert read_table(tmp_path / "a.csv", ["text", "label"], {"text", "label"})["label"].to_pylist() == ["null", "None"]


def test_class_labels_of_datasets_become_their_names(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    dataset = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features=features)
    dataset.save_to_disk(str(tmp_path / "folder"))
    dataset.to_parquet(str(tmp_path / "file.parquet"))
    for name in ("folder", "file.parquet"):
        assert read_table(tmp_path / name, ["label"], {"label"})["label"].to_pylist() == ["yes", "no"]


def test_a_class_label_of_minus_one_counts_as_empty(tmp_path: Path) -> None:
    features = datasets.Features({"label": datasets.ClassLabel(names=["no", "yes"])})
    datasets.Dataset.from_dict({"label": [1, -1]}, features=features).save_to_disk(str(tmp_path / "a"))
    with pytest.raises(DataError, match=r"'label' is empty in 1 row of 2, first in data row 2; fill or remove it"):
        read_table(tmp_path / "a", ["label"], {"label"})


def test_dictionaries_and_large_strings_of_parquet_are_texts(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array(["x", "y"]).dictionary_encode(), "b": pa.array(["x", "y"], pa.large_string())})
    pq.write_table(table, tmp_path / "a.parquet")
    read = read_table(tmp_path / "a.parquet", ["a", "b"], {"a", "b"})
    assert read.to_pydict() == {"a": ["x", "y"], "b": ["x", "y"]}
    assert set(read.schema.types) == {pa.string()}


def test_a_dataset_dict_is_read_by_its_split_folders(tmp_path: Path) -> None:
    whole = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    )
    whole.save_to_disk(str(tmp_path / "a"))
    assert datasets_splits(tmp_path / "a") == ["train", "test"]
    assert read_table(tmp_path / "a" / "test", ["text"], {"text"}).num_rows == 1
    with pytest.raises(DataError, match=r"holds the splits train, test; name one, such as .*train"):
        read_table(tmp_path / "a", ["text"], {"text"})


def test_reading_writes_nothing_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    files = [write(data) for write in (write_csv, write_json_lines, write_parquet, write_datasets_folder)]
    before = sorted(tmp_path.rglob("*"))
    for file in files:
        read_table(file, ["text"], {"text"})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "text,label\n", "holds no rows"),
        ("a.jsonl", "\n\n", "holds no rows"),
        ("a.csv", f"txt,label\n{PRIVATE[:9]},b\n", "has no column 'text'; did you mean 'txt'? It has: txt, label"),
        ("a.csv", f"note,label\n{PRIVATE[:9]},b\n", "has no column 'text'; it has: note, label"),
        (
            "a.csv",
            "Ms Secret,positive\nMs Other,negative\n",
            "has no column 'text'; its first row must name the columns",
        ),
        ("a.csv", "text,text,label\na,b,c\n", "column 'text' is there 2 times; rename all but one"),
        ("a.jsonl", '{"note": "Ms Secret", "label": "b"}', "has no column 'text'; it has: note, label"),
        (
            "a.csv",
            f"text,label\n{PRIVATE},b\nx,y\n{PRIVATE},b\n",
            "2 rows with more or fewer columns than the header's 2; the first is row 2 (the header is row 1), with 3. "
            "A text that holds a delimiter, a quote or a line break belongs in double quotes",
        ),
        ("a.csv", f'text,label\n"{PRIVATE},b\nx,y\n', "1 row with more or fewer columns"),
        ("a.csv", '"text,label\nx,y\n', "has no column 'text'; its first row must name the columns"),
        (
            "a.csv",
            "text,label\n  ,b\nMs Secret,\nx,y\n",
            "column 'text' is empty in 1 row of 3, first in data row 1; fill or",
        ),
        (
            "a.csv",
            "text,label\nMs Secret,\n,b\n,\n",
            "column 'text' is empty in 2 rows of 3, first in data row 2; fill or",
        ),
        (
            "a.jsonl",
            '{"text": "Ms Secret"}\n{"text": "x", "label": "y"}',
            "'label' is empty in 1 row of 2, first in data row 1",
        ),
        ("a.jsonl", '{"text": "Ms Secret", "label": NaN}', "column 'label' is empty in 1 row of 1"),
        (
            "a.jsonl",
            '{"text": "x", "label": "y"}\n{"text": "Ms Secret"',
            "a.jsonl, line 2: not JSON; each line must be one whole",
        ),
        ("a.jsonl", '["Ms Secret", "y"]', 'a.jsonl, line 1: expected an object like {"text": …}'),
        (
            "a.jsonl",
            '{"text": ["Ms Secret"], "label": "y"}',
            "a.jsonl, line 1: column 'text' holds a list; expected text",
        ),
        ("a.json", '[{"text": "x",\n "label": "y"},\n Ms Secret]', "a.json, line 3: not JSON"),
        ("a.json", '[{"text": "x", "label": "y"}, "Ms Secret"]', "a.json, record 2: expected an object"),
        ("a.parquet", "Ms Secret", "a.parquet is damaged, or no Parquet file"),
        (
            "a.xlsx",
            "Ms Secret",
            "has no format that foedus reads: .csv, .tsv, .jsonl, .json (lines or a list), .parquet",
        ),
        ("a.xlsx", "Ms Secret", "save the sheet as 'CSV UTF-8'"),
    ],
)
def test_an_unusable_file_is_refused_without_showing_its_rows(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name, ["text", "label"], {"text", "label"})
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_named_with_the_way_out(name: str, encoding: str, tmp_path: Path) -> None:
    content = '{"text": "Ms Secret", "label": "ä"}' if "json" in name else "text,label\nMs Secret,ä\n"
    (tmp_path / name).write_text(content, encoding=encoding)
    with pytest.raises(
        DataError, match=r"is not UTF-8 text; save it as UTF-8 .* iconv -f WINDOWS-1252 -t UTF-8 a\."
    ) as e:
        read_table(tmp_path / name, ["text", "label"], {"text", "label"})
    assert "Secret" not in str(e.value)


def test_other_bytes_far_down_a_csv_file_are_an_encoding_error_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\n" + b"plain,b\n" * 20_000 + "Ms Secret ä,b\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_table(tmp_path / "a.csv", ["text", "label"], {"text", "label"})


def test_a_missing_file_and_a_plain_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.csv does not exist"):
        read_table(tmp_path / "nothing.csv", ["text"], {"text"})
    with pytest.raises(DataError, match=r"is a folder, but not one of datasets' save_to_disk"):
        read_table(tmp_path, ["text"], {"text"})


def test_a_damaged_datasets_folder_is_refused(tmp_path: Path) -> None:
    folder = write_datasets_folder(tmp_path)
    next(folder.glob("*.arrow")).write_bytes(b"Ms Secret")
    with pytest.raises(DataError, match="is damaged: datasets cannot load it"):
        read_table(folder, ["text"], {"text"})


def test_columns_of_several_kinds_and_of_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "group": 1}\n{"text": "x", "group": "Ms Secret"}\n')
    with pytest.raises(DataError, match=r"column 'group' holds values of several kinds; use one$"):
        read_table(tmp_path / "a.jsonl", ["text", "group"], {"text"})
    pq.write_table(pa.table({"text": [["Ms Secret"]]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'text' is of type list<.*; expected text$"):
        read_table(tmp_path / "a.parquet", ["text"], {"text"})
