"""Which column of a participant's file is probably what. Only `foedus init` guesses, and it says so."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foedus.core.errors import DataError

SAMPLE_ROWS = 500
SAMPLE_CHARACTERS = 2**20
FEW_CLASSES = 50

TEXT_NAMES = ("text", "note", "notes", "report", "sentence", "content", "description", "message", "body", "comment")
LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "diagnosis",
    "code",
    "grade",
    "sentiment",
    "topic",
    "y",
)
SOURCE_NAMES = ("source", "input", "document", "article", "question", "report", "text")
TARGET_NAMES = ("target", "output", "summary", "answer", "translation", "highlights")
GROUP_NAMES = ("patient_id", "patient", "subject_id", "person_id", "customer_id", "user_id", "client_id", "author_id")

Sample = Mapping[str, Sequence[str]]  # column → its first values, as text


def read_sample(path: Path) -> Sample:
    """Return the first rows of a file, read by its ending; columns that hold no plain values are left out.

    Raises: DataError if the file cannot be read that way.
    """
    try:
        rows = list(itertools.islice(_rows(path), SAMPLE_ROWS))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read to guess its columns ({type(error).__name__}); give --text") from error
    names = dict.fromkeys(name for row in rows for name in row if isinstance(name, str) and name)
    columns = {name: [row[name] for row in rows if row.get(name) not in (None, "")] for name in names}
    plain = (str, int, float, bool)
    return {
        name: [str(value) for value in values]
        for name, values in columns.items()
        if values and all(isinstance(value, plain) for value in values)
    }


def _rows(path: Path) -> Iterator[Mapping[Any, Any]]:
    if path.is_dir():
        from datasets import load_from_disk

        return iter(load_from_disk(str(path)))
    match path.suffix.lower():
        case ".parquet":
            import pyarrow.parquet

            batches = pyarrow.parquet.ParquetFile(path).iter_batches(SAMPLE_ROWS)
            return (row for batch in batches for row in batch.to_pylist())
        case ".jsonl" | ".json":
            return iter(_json_rows(path))
    return iter(_csv_rows(path))


def _json_rows(path: Path) -> Iterable[Mapping[Any, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        start = file.read(1)
        file.seek(0)
        lines = file.readlines(SAMPLE_CHARACTERS)
    if start == "[":
        return [row for row in json.loads(path.read_text(encoding="utf-8-sig")) if isinstance(row, dict)]
    return [row for line in lines if line.strip() if isinstance(row := json.loads(line), dict)]


def _csv_rows(path: Path) -> Iterable[Mapping[Any, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = file.readlines(SAMPLE_CHARACTERS)
    if not lines:
        raise DataError(f"{path} is empty")
    delimiter = max("\t;," if path.suffix.lower() != ".tsv" else "\t", key=lines[0].count)
    return csv.DictReader(lines, delimiter=delimiter)


def guess_text(sample: Sample, names: Sequence[str] = TEXT_NAMES, taken: Sequence[str] = ()) -> str | None:
    """Return the column whose name is usual for texts, or else the one with the most words.

    >>> guess_text({"id": ["1", "2"], "Befund": ["no fracture seen", "fracture of the left wrist"]})
    'Befund'
    """
    free = {name: values for name, values in sample.items() if name not in taken}
    if named := _named(free, names):
        return named
    return max(free, key=lambda name: sum(len(value.split()) for value in free[name]) / len(free[name]), default=None)


def guess_label(sample: Sample, taken: Sequence[str] = ()) -> str | None:
    """Return the column whose name is usual for classes, or else the one with the fewest values, if they are few.

    >>> guess_label({"text": ["a b", "c d", "e f", "g h"], "id": list("1234"), "Stadium": ["I", "II", "I", "II"]})
    'Stadium'
    """
    few = {name: values for name, values in sample.items() if name not in taken and _is_few(values)}
    return _named(few, LABEL_NAMES) or min(few, key=lambda name: len(set(few[name])), default=None)


def guess_group(sample: Sample, taken: Sequence[str] = ()) -> str | None:
    """Return the column that tells whose rows are whose, if some have several.

    >>> guess_group({"patient_id": ["7", "7", "8"], "text": ["a", "b", "c"]})
    'patient_id'
    """
    several = {n: v for n, v in sample.items() if n not in taken and 1 < len(set(v)) < len(v)}
    return _named(several, GROUP_NAMES)


def _named(sample: Sample, names: Sequence[str]) -> str | None:
    by_lower = {name.lower().replace(" ", "_"): name for name in reversed(list(sample))}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _is_few(values: Sequence[str]) -> bool:
    distinct = len(set(values))
    return 2 <= distinct <= min(FEW_CLASSES, max(2, len(values) // 2))
