"""One file or folder of a participant → a table of the columns that were asked for.

Files are read with pyarrow and the standard library, not with datasets.load_dataset: that one writes a
copy of every file it reads into a cache below the home directory, where a participant's private rows would
outlive the run.

Errors name the file, the column and the number of rows, and never hold what stands in a row.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from foedus.core.errors import DataError

FORMATS = ".csv, .tsv, .jsonl, .json (lines or a list), .parquet, or a folder of datasets' save_to_disk"
# Spreadsheets of many European countries write semicolons into .csv files.
DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
CSV_BLOCK_BYTES = 64 * 2**20  # the longest row that can be read


def read_table(path: Path, columns: Sequence[str], text_columns: Collection[str]) -> pa.Table:
    """Return these columns of a file, in this order.

    path: a file ending in .csv, .tsv, .jsonl, .json or .parquet, or a folder of `Dataset.save_to_disk`.
    text_columns: read as strings, so that a label "01" stays "01"; class labels of `datasets` become their
        names. Each of their rows must hold something: a row without text or label is an error and not
        dropped, because dropping would change what a participant contributes without anyone's say.
    Raises: DataError.
    """
    try:
        table = _read(path, list(columns), text_columns)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    if not table.num_rows:
        raise DataError(f"{path} holds no rows; remove the file or add rows")
    for name in (column for column in columns if column in text_columns):
        _require_filled(table[name], name, path)
    return table


def _read(path: Path, columns: list[str], text_columns: Collection[str]) -> pa.Table:
    if path.is_dir():
        return _read_datasets_folder(path, columns, text_columns)
    if not path.stat().st_size:
        raise DataError(f"{path} is empty")
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _read_csv(path, columns, text_columns)
        case ".jsonl" | ".json":
            return _read_json(path, columns, text_columns)
        case ".parquet":
            return _read_parquet(path, columns, text_columns)
    hint = "; save the sheet as 'CSV UTF-8'" if path.suffix.lower() in {".xls", ".xlsx", ".ods"} else ""
    raise DataError(f"{path} has no format that foedus reads: {FORMATS}{hint}")


def _read_csv(path: Path, columns: list[str], text_columns: Collection[str]) -> pa.Table:
    delimiter, header = _csv_header(path, columns)
    _require_columns(columns, header, path)
    malformed: list[Any] = []  # pyarrow.csv.InvalidRow

    def note(row: Any) -> str:
        malformed.append(row)
        return "skip"

    try:
        table = pa.csv.read_csv(
            path,
            # one thread, as only then pyarrow knows the number of a malformed row
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
            convert_options=pa.csv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(text_columns, pa.string()),
                null_values=[""],  # "NA" and "null" may be texts and labels
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:  # its message may quote a row
        if "UTF8" in str(error):
            raise _not_utf8(path) from None
        raise DataError(
            f"{path} cannot be read as delimited text: a quoted text may not be closed, or a row be longer than "
            f"{CSV_BLOCK_BYTES // 2**20} MiB"
        ) from None
    if malformed:
        first = malformed[0]
        raise DataError(
            f"{path}: {_counted(len(malformed), 'row')} with more or fewer columns than the header's "
            f"{first.expected_columns}; the first is row {first.number} (the header is row 1), with "
            f"{first.actual_columns}. A text that holds a delimiter, a quote or a line break belongs in double quotes"
        )
    return table


def _csv_header(path: Path, columns: list[str]) -> tuple[str, list[str]]:
    """Return the delimiter and the column names.

    The delimiter is the first under which all columns are there: the columns asked for are a better witness
    than statistics over the text.
    """
    candidates = DELIMITERS[path.suffix.lower()]
    headers = {}
    for delimiter in candidates:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                headers[delimiter] = next(csv.reader(file, delimiter=delimiter), [])
        except UnicodeDecodeError:
            raise _not_utf8(path) from None
        except csv.Error:
            raise DataError(f"{path} is not delimited text; a file ending in {path.suffix} should be") from None
    fitting = [d for d in candidates if set(columns) <= set(headers[d])]
    delimiter = fitting[0] if fitting else max(candidates, key=lambda d: len(headers[d]))
    return delimiter, headers[delimiter]


def _read_json(path: Path, columns: list[str], text_columns: Collection[str]) -> pa.Table:
    # pyarrow's JSON reader turns texts that look like dates into dates, and refuses labels that are numbers
    values: dict[str, list[Any]] = {name: [] for name in columns}
    present: dict[str, None] = {}
    for place, record in _json_records(path):
        if not isinstance(record, dict):
            raise DataError(f'{path}, {place}: expected an object like {{"{columns[0]}": …}}')
        present.update(dict.fromkeys(record))
        for name in columns:
            value = record.get(name)
            if name in text_columns:
                value = _json_text(value, name, path, place)
            values[name].append(value)
    if present:
        _require_columns(columns, list(present), path)
    arrays = {}
    for name in columns:
        try:
            arrays[name] = pa.array(values[name], pa.string() if name in text_columns else None)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # their messages quote the value
            raise DataError(f"{path}: column '{name}' holds values of several kinds; use one") from None
    return pa.table(arrays)


def _json_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (where it stands, record) of JSON lines, or of one list of records."""
    place = "line 1"
    try:
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".json" and _first_character(path) == "[":
                place = "the list"
                for number, record in enumerate(json.load(file), 1):
                    yield f"record {number}", record
                return
            for number, line in enumerate(file, 1):
                place = f"line {number}"
                if line.strip():
                    yield place, json.loads(line)
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except json.JSONDecodeError as error:
        if place != "the list":
            raise DataError(f"{path}, {place}: not JSON; each line must be one whole object") from None
        raise DataError(f"{path}, line {error.lineno}: not JSON") from None


def _first_character(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as file:
        return next((line.lstrip()[0] for line in file if line.strip()), "")


def _json_text(value: Any, name: str, path: Path, place: str) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):  # NaN, which pandas writes for a missing value
            return None
        case int() | float():
            return str(value)
    raise DataError(f"{path}, {place}: column '{name}' holds a {type(value).__name__}; expected text")


def _read_parquet(path: Path, columns: list[str], text_columns: Collection[str]) -> pa.Table:
    try:
        with pa.parquet.ParquetFile(path) as file:
            _require_columns(columns, file.schema_arrow.names, path)
            table = file.read(columns).select(columns)
    except pa.ArrowInvalid:
        raise DataError(f"{path} is damaged, or no Parquet file") from None
    if b"huggingface" not in (table.schema.metadata or {}):
        return _with_texts(table, text_columns, {}, path)
    from datasets import Features

    return _with_texts(table, text_columns, Features.from_arrow_schema(table.schema), path)


def _read_datasets_folder(path: Path, columns: list[str], text_columns: Collection[str]) -> pa.Table:
    if splits := datasets_splits(path):
        raise DataError(f"{path} holds the splits {', '.join(splits)}; name one, such as {path / splits[0]}")
    if not (path / "state.json").is_file():
        raise DataError(f"{path} is a folder, but not one of datasets' save_to_disk; a participant has {FORMATS}")
    from datasets import load_from_disk

    try:
        dataset = load_from_disk(str(path))
    except (pa.ArrowInvalid, ValueError, KeyError):
        raise DataError(f"{path} is damaged: datasets cannot load it") from None
    _require_columns(columns, dataset.column_names, path)
    table = dataset.select_columns(columns).with_format("arrow")[:].select(columns)
    return _with_texts(table, text_columns, dataset.features, path)


def datasets_splits(path: Path) -> Sequence[str]:
    """Return the names of the splits in a folder of `DatasetDict.save_to_disk`; empty if it is none."""
    try:
        return list(json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"])
    except (OSError, ValueError, KeyError):
        return []


def _with_texts(table: pa.Table, text_columns: Collection[str], features: Mapping[str, Any], path: Path) -> pa.Table:
    """Return the table with its text columns as strings; `features` are those of datasets, where known."""
    for name in text_columns:
        place = table.schema.get_field_index(name)
        texts = _as_text(table[name], getattr(features.get(name), "names", None), name, path)
        table = table.set_column(place, name, texts)
    return table.replace_schema_metadata(None)


def _as_text(column: pa.ChunkedArray, names: Sequence[str] | None, name: str, path: Path) -> pa.ChunkedArray:
    kind = column.type
    if names is not None:  # a class label: -1 stands for none
        known = pc.if_else(pc.greater_equal(column, 0), column, pa.scalar(None, kind))
        return pc.take(pa.chunked_array([pa.array(names, pa.string())]), known)
    if pa.types.is_dictionary(kind):
        return _as_text(column.cast(kind.value_type), names, name, path)
    if pa.types.is_floating(kind):  # NaN is what pandas writes for a missing value
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    types = pa.types
    castable = (types.is_string, types.is_large_string, types.is_string_view, types.is_integer)
    if any(fits(kind) for fits in (*castable, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)):
        return column.cast(pa.string())
    raise DataError(f"{path}: column '{name}' is of type {kind}; expected text")


def _require_columns(columns: Sequence[str], present: Sequence[str], path: Path) -> None:
    for name in columns:
        if present.count(name) > 1:
            raise DataError(f"{path}: column '{name}' is there {present.count(name)} times; rename all but one")
        if name in present:
            continue
        listed = ", ".join(present)
        if near := get_close_matches(name, present, n=1):
            raise DataError(f"{path} has no column '{name}'; did you mean '{near[0]}'? It has: {listed}")
        # without a header the first row is somebody's data, and must not be shown
        if path.suffix.lower() in DELIMITERS and set(columns).isdisjoint(present):
            raise DataError(f"{path} has no column '{name}'; its first row must name the columns")
        raise DataError(f"{path} has no column '{name}'; it has: {listed}")


def _require_filled(column: pa.ChunkedArray, name: str, path: Path) -> None:
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), fill_value=True)
    if count := pc.sum(empty).as_py():
        first = pc.index(empty, value=True).as_py() + 1
        raise DataError(
            f"{path}: column '{name}' is empty in {_counted(count, 'row')} of {len(column)}, first in data row "
            f"{first}; fill or remove {'it' if count == 1 else 'them'}"
        )


def _not_utf8(path: Path) -> DataError:
    return DataError(
        f"{path} is not UTF-8 text; save it as UTF-8 ('CSV UTF-8' in a spreadsheet), or convert it, for example "
        f"with: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
