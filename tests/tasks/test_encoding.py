import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foedus.tasks import encoding
from foedus.tasks.encoding import EncodedRows, RaggedTensor, pad, padding_mask, tokenise
from tiny_models import tiny_tokenizer

ROWS = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=8)


@given(ROWS)
def test_ragged_rows_come_back_as_they_were(rows: list[list[int]]) -> None:
    ragged = RaggedTensor.from_rows(rows)
    assert [row.tolist() for row in ragged] == rows
    assert [row.tolist() for row in ragged[::-1]] == rows[::-1]
    assert ragged.flat.dtype == torch.int32


def test_a_row_is_a_view() -> None:
    ragged = RaggedTensor.from_rows([[1, 2], [3]])
    assert ragged[-1].untyped_storage().data_ptr() == ragged.flat.untyped_storage().data_ptr()
    with pytest.raises(IndexError):
        ragged[2]


def test_encoded_rows_are_a_sequence_of_examples() -> None:
    rows = EncodedRows({"input_ids": RaggedTensor.from_rows([[1, 2], [3], []])}, {"labels": torch.tensor([7, 8, 9])})
    assert len(rows) == 3
    assert [int(example["labels"]) for example in rows] == [7, 8, 9]
    assert rows[1]["input_ids"].tolist() == [3]
    assert [example["input_ids"].tolist() for example in rows[1:]] == [[3], []]


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=8))
def test_padding_is_told_by_place_and_not_by_value(rows: list[list[int]]) -> None:
    tensors = [torch.tensor(row) for row in rows]
    padded, mask = pad(tensors, 0), padding_mask(tensors)
    assert [padded[i][mask[i].bool()].tolist() for i in range(len(rows))] == rows
    assert padded[mask == 0].eq(0).all()


def test_rows_are_tokenised_alike_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"the lung {n}" for n in range(25)]
    whole = tokenise(tiny_tokenizer("bert"), texts, max_length=16)["input_ids"]
    monkeypatch.setattr(encoding, "ROWS_AT_ONCE", 4)
    chunked = tokenise(tiny_tokenizer("bert"), texts, max_length=16)["input_ids"]
    assert torch.equal(whole.flat, chunked.flat)
    assert list(whole.starts) == list(chunked.starts)
