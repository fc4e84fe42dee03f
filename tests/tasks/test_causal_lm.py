import math
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foedus.tasks.causal_lm import CausalLM
from foedus.tasks.documents import Document, pack, read_documents
from tiny_models import tiny, tiny_tokenizer


def tokenizer(family: Any = "gpt2") -> Any:
    made = tiny_tokenizer(family)
    made.pad_token = made.pad_token or made.eos_token
    return made


def lm(max_length: int, *, packing: bool, family: Any = "gpt2") -> CausalLM:
    return CausalLM(tokenizer(family), "text", max_length, packing)


def rows(*texts: str) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


TEXTS = st.lists(st.text(max_size=12), max_size=6)


@given(TEXTS)
def test_a_document_s_bytes_are_those_of_its_text(texts: list[str]) -> None:
    for document, text in zip(read_documents(tokenizer(), texts, None), texts, strict=True):
        assert sum(document.text_bytes) == len(text.encode())
        assert len(document.text_bytes) == len(document.tokens)
        assert document.tokens[-1] == tokenizer().eos_token_id


@given(TEXTS, st.integers(2, 9))
def test_packing_predicts_every_token_but_the_first_once(texts: list[str], block_size: int) -> None:
    documents = list(read_documents(tokenizer(), texts, None))
    tokens = [token for document in documents for token in document.tokens]
    text_bytes = [count for document in documents for count in document.text_bytes]
    blocks = list(pack(documents, block_size))
    assert [token for block in blocks for token in block.tokens[1:]] == tokens[1:]
    assert [count for block in blocks for count in block.text_bytes[1:]] == text_bytes[1:]
    assert all(len(block.tokens) == block_size + 1 for block in blocks[:-1])
    assert all(1 < len(block.tokens) <= block_size + 1 for block in blocks)
    assert all(block.tokens[-1] == following.tokens[0] for block, following in pairwise(blocks))


def test_a_long_document_is_cut_off_without_packing_and_kept_with_it() -> None:
    text = "x" * 50
    (cut,) = lm(10, packing=False).encode(rows(text))
    assert len(cut["tokens"]) == 11  # ten are read and ten predicted
    assert int(cut["text_bytes"]) == 10
    blocks = lm(10, packing=True).encode(rows(text))
    assert sum(int(block["text_bytes"]) for block in blocks) == 49
    assert sum(lm(10, packing=True).length(block) for block in blocks) == 50  # 49 letters and the end of the text


def test_documents_are_told_apart_by_the_end_of_text() -> None:
    end = tokenizer().eos_token_id
    (block,) = lm(20, packing=True).encode(rows("ab", "cd"))
    assert block["tokens"].tolist().count(end) == 2
    assert block["tokens"].tolist()[2] == end


def test_a_beginning_that_the_tokenizer_adds_lets_the_first_letter_be_predicted() -> None:
    (with_start,) = lm(20, packing=False, family="llama").encode(rows("abc"))
    (without,) = lm(20, packing=False, family="gpt2").encode(rows("abc"))
    assert (int(with_start["text_bytes"]), int(without["text_bytes"])) == (3, 2)


def test_a_character_of_several_tokens_counts_its_bytes_once() -> None:
    (document,) = read_documents(tokenizer(), ["aé€"], None)
    assert list(document.text_bytes) == [1, 2, 0, 3, 0, 0, 0]


def test_text_that_a_tokenizer_drops_counts_with_the_token_after_it() -> None:
    (document,) = read_documents(tiny_tokenizer("bert"), ["in   the"], None)
    assert list(document.text_bytes) == [0, 2, 6, 0]


def test_a_document_of_one_token_has_nothing_to_predict() -> None:
    assert len(lm(10, packing=False).encode(rows("", "ab"))) == 1


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary_and_eight_bits_a_byte() -> None:
    model, _ = tiny("gpt2", "causal_lm")
    torch.nn.init.zeros_(model.transformer.wte.weight)
    task = lm(32, packing=True)
    batch = task.collate(task.encode(rows("plain letters")))
    score = task.score(task.tally(model.eval(), batch))
    assert score["perplexity"] == pytest.approx(262)
    # 12 letters are predicted, and the end of the text
    assert score["bits_per_byte"] == pytest.approx(math.log2(262) * 13 / 12)


def test_bytes_are_left_out_where_a_tokenizer_does_not_tell_them() -> None:
    task = lm(32, packing=False)
    model, _ = tiny("gpt2", "causal_lm")
    sums = task.tally(model, task.collate(task.encode(rows("abc"))))
    assert "bits_per_byte" not in task.score({**sums, "text_bytes": torch.tensor(0.0)})


def test_a_loss_beyond_floating_point_is_still_a_number() -> None:
    sums = {
        "loss": torch.tensor(1e6),
        "tokens": torch.tensor(1.0),
        "correct": torch.tensor(0.0),
        "text_bytes": torch.tensor(1.0),
    }
    assert math.isfinite(lm(8, packing=False).score(sums)["perplexity"])


def test_packing_nothing_gives_nothing() -> None:
    assert list(pack([], 4)) == []
    assert list(pack([Document([1], [0])], 4)) == []
