"""Which rows a budget is for: keyed hashes of them, so that the same data cannot be spent from two budgets.

The key is the ledger file's own. Two ledgers' hashes of one row have nothing in common, and a hash tells
nothing about its row to somebody who has not got the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

# Of 64 bits: among two times a million rows two different ones agree with a probability of 5e-8.
Hashes = npt.NDArray[np.uint64]  # sorted, each once
_HASH = np.dtype("<u8")
_BATCH = 1 << 16


@dataclass(frozen=True)
class Contents:
    """The rows of a data set as a ledger knows them.

    records: how many rows there are; equal ones count each.
    """

    hashes: Hashes
    records: int

    def differs(self, other: Contents) -> bool:
        """Return whether a row was added, taken out or changed."""
        return self.records != other.records or not np.array_equal(self.hashes, other.hashes)


def fingerprint(rows: Iterable[bytes], secret: bytes) -> Contents:
    """Return the contents of rows, whatever their order. A million short rows take about two seconds."""
    key = hashlib.blake2b(secret, digest_size=32, person=b"foedus rows").digest()
    hashed = [hashlib.blake2b(row, digest_size=_HASH.itemsize, key=key).digest() for row in rows]
    return Contents(np.unique(np.frombuffer(b"".join(hashed), _HASH)).astype(np.uint64), len(hashed))


def in_common(left: Hashes, right: Hashes) -> int:
    """Return how many hashes are in both."""
    return int(np.intersect1d(left, right, assume_unique=True).size)


def to_blob(hashes: Hashes) -> bytes:
    """Return the bytes that a ledger keeps."""
    return hashes.astype(_HASH).tobytes()


def from_blob(blob: bytes) -> Hashes:
    """Return what to_blob was given."""
    return np.frombuffer(blob, _HASH).astype(np.uint64)


def table_rows(tables: Iterable[pa.Table]) -> Iterator[bytes]:
    """Return each row of a site's tables as bytes: all its columns, by name, whatever their order."""
    encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=_plain).encode
    for table in tables:
        names = sorted(table.column_names)
        for batch in table.select(names).to_batches(max_chunksize=_BATCH):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield encode([names, values]).encode()


def _plain(value: Any) -> str:
    """Return a value that JSON does not know, such as a date or bytes, as text with its type."""
    return f"{type(value).__name__}:{value!r}"
