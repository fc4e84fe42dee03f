"""Encoded rows, held compactly: flat tensors and the places where each row begins."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import pyarrow as pa
import torch
from torch import Tensor

from foedus.core.errors import DataError
from foedus.training.task import Example

ROWS_AT_ONCE = 1000  # rows handed to the tokenizer in one call: bounds the memory of its Python lists


@dataclass(frozen=True)
class RaggedTensor(Sequence[Tensor]):
    """Rows of different lengths. flat: one after the other. starts: where each begins, and the end."""

    flat: Tensor  # Shape: (tokens,)
    starts: Sequence[int]  # no tensor: reading one number from a tensor takes as long as collating a row

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]], dtype: torch.dtype = torch.int32) -> RaggedTensor:
        """Return the rows in one flat tensor."""
        flat, starts = array("q"), array("q", [0])
        for row in rows:
            flat.extend(row)
            starts.append(len(flat))
        return cls(torch.tensor(flat, dtype=dtype), starts)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        """Return a row, as a view into the flat tensor."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.flat[self.starts[index] : self.starts[index + 1]]


@dataclass(frozen=True)
class EncodedRows(Sequence[Example]):
    """Examples made of ragged columns, such as token ids, and of plain ones, such as labels."""

    ragged: Mapping[str, RaggedTensor]
    plain: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(next(iter(self.ragged.values())))

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """Return an example; its tensors are views."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        ragged = {name: column[index] for name, column in self.ragged.items()}
        return ragged | {name: column[index] for name, column in self.plain.items()}


def text_column(rows: pa.Table, name: str) -> list[str]:
    """Return the column's texts; numbers and truth values are written out as Arrow writes them.

    Raises: DataError if a row has none.
    """
    column = rows.column(name)
    if column.null_count:
        raise DataError(
            f"column '{name}': {column.null_count} of {len(column)} rows have no value. Remove them, or fill them in"
        )
    texts: list[str] = column.cast(pa.string()).to_pylist()
    return texts


def tokenise(
    tokenizer: Any, *texts: Sequence[str], max_length: int, as_target: bool = False
) -> dict[str, RaggedTensor]:
    """Return the columns that the tokenizer gives for texts, or for pairs of texts, truncated to max_length tokens.

    as_target: the texts are written, not read; some translation models tokenise these in another way.
    A text without any token becomes one end-of-text (or padding) token: models need something to read.
    """
    names = ["input_ids"] + (["token_type_ids"] if len(texts) == 2 else [])
    rows: dict[str, list[Sequence[int]]] = {name: [] for name in names}
    stand_in = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id
    for start in range(0, len(texts[0]), ROWS_AT_ONCE):
        chunk = [list(column[start : start + ROWS_AT_ONCE]) for column in texts]
        named = {"text_target": chunk[0]} if as_target else dict(zip(("text", "text_pair"), chunk, strict=False))
        encoded: Mapping[str, list[list[int]]] = tokenizer(
            **named, truncation=True, max_length=max_length, return_token_type_ids=len(texts) == 2
        )
        rows["input_ids"] += [ids or [stand_in] for ids in encoded["input_ids"]]
        if len(texts) == 2:
            rows["token_type_ids"] += [ids or [0] for ids in encoded["token_type_ids"]]
    return {name: RaggedTensor.from_rows(column) for name, column in rows.items()}


def plain_tokens(tokenizer: Any, texts: Sequence[str]) -> Iterator[Sequence[int]]:
    """Yield each text's tokens, whole and without special ones."""
    for start in range(0, len(texts), ROWS_AT_ONCE):
        chunk = list(texts[start : start + ROWS_AT_ONCE])
        yield from tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]


def surrounding_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and behind a text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    tokens, is_special = list(encoded["input_ids"]), list(encoded["special_tokens_mask"])
    if 0 not in is_special:
        return tokens, []
    return tokens[: is_special.index(0)], tokens[len(tokens) - is_special[::-1].index(0) :]


def pad(rows: Sequence[Tensor], value: int) -> Tensor:
    """Return the rows as one int64 tensor, filled up on the right.

    >>> pad([torch.tensor([1, 2]), torch.tensor([3])], 0)
    tensor([[1, 2],
            [3, 0]])
    """
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value).long()


def padding_mask(rows: Sequence[Tensor]) -> Tensor:
    """Return 1 where `pad` keeps a row's own value and 0 where it fills up, by place and not by value."""
    lengths = torch.tensor([len(row) for row in rows])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).long()
