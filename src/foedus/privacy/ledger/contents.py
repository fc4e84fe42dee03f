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
    """Return the contents of rows, whatever their order. A million short rows take some seconds."""
    key = hashlib.blake2b(secret, digest_size=32, person=b"foedus rows").digest()
    keyed = hashlib.blake2b(digest_size=_HASH.itemsize, key=key)
    hashed = bytearray()
    for row in rows:
        one = keyed.copy()  # half the time of keying it again
        one.update(row)
        hashed += one.digest()
    hashes = np.frombuffer(bytes(hashed), _HASH)
    return Contents(np.unique(hashes).astype(np.uint64), hashes.size)


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
    for table in tables:
        names = sorted(table.column_names)
        head = json.dumps(names)
        for batch in table.select(names).to_batches(max_chunksize=_BATCH):
            columns = [_texts(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield f"{head}{''.join(values)}".encode(errors="surrogatepass")


def _texts(column: pa.Array) -> list[str]:
    """Return a column's values as texts that stay apart when they are put together."""
    import pyarrow as pa

    values = column.to_pylist()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, default=_plain).encode
        return [f"j{len(text)}:{text}" for text in map(encode, values)]
    return ["n" if value is None else f"s{len(value)}:{value}" for value in values]


def _plain(value: Any) -> str:
    """Return a value that JSON does not know, such as a date or bytes, as text with its type."""
    return f"{type(value).__name__}:{value!r}"


def name_rows(names: Iterable[str]) -> Iterator[bytes]:
    """Return participants' names as the rows of a federation's budget: there, each participant is one unit."""
    for name in names:
        yield name.encode()
