from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from foedus.models.byte_level import BEGIN, END, SMALLEST, SPECIAL_TOKENS, byte_level_tokenizer
from foedus.models.byte_pairs import alphabet
from foedus.models.foreign_calls import quiet_transformers
from tiny_models import tiny

LETTERS = {name: number for number, name in enumerate(alphabet())}
MERGES = [(LETTERS["t"], LETTERS["h"]), (256, LETTERS["e"]), (LETTERS["Ġ"], 257)]  # th, the, " the"
PLAIN = byte_level_tokenizer(closes=False)
MERGED = byte_level_tokenizer(MERGES, closes=True)


@pytest.mark.parametrize("tokenizer", [PLAIN, MERGED])
@given(text=st.text(max_size=30))
@settings(deadline=None)
def test_every_text_is_read_and_given_back(tokenizer: Any, text: str) -> None:
    tokens = tokenizer(text)["input_ids"]
    assert tokenizer.decode(tokens, skip_special_tokens=True) == text


def test_without_merges_each_byte_is_a_token() -> None:
    assert len(PLAIN) == SMALLEST == 260
    assert len(PLAIN("Öl 日", add_special_tokens=False)["input_ids"]) == len("Öl 日".encode())


def test_merges_make_longer_tokens() -> None:
    assert MERGED.convert_ids_to_tokens(MERGED("the thin the")["input_ids"]) == [
        BEGIN, "the", "Ġ", "th", "i", "n", "Ġthe", END,
    ]  # fmt: skip


def test_a_text_that_goes_on_is_open_and_others_are_closed() -> None:
    assert PLAIN("a")["input_ids"] == [PLAIN.bos_token_id, *PLAIN("a", add_special_tokens=False)["input_ids"]]
    assert MERGED("a")["input_ids"][-1] == MERGED.eos_token_id
    pair = MERGED("a", "b", return_token_type_ids=True)
    assert MERGED.convert_ids_to_tokens(pair["input_ids"]) == [BEGIN, "a", END, "b", END]
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]


def test_special_tokens_have_their_roles() -> None:
    roles = [PLAIN.bos_token, PLAIN.cls_token, PLAIN.eos_token, PLAIN.sep_token, PLAIN.pad_token, PLAIN.mask_token]
    assert roles == [BEGIN, BEGIN, END, END, "<|pad|>", "<|mask|>"]
    assert sorted(PLAIN.all_special_ids) == list(range(len(SPECIAL_TOKENS)))


def test_markup_in_a_text_is_no_special_token() -> None:
    assert not set(PLAIN("<s> <pad> [MASK] </s>", add_special_tokens=False)["input_ids"]) & set(PLAIN.all_special_ids)


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_a_saved_tokenizer_is_loaded_again_beside_a_model(family: Any, tmp_path: Path) -> None:
    model, _ = tiny(family, "none", vocab_size=len(MERGED))
    with quiet_transformers():
        model.save_pretrained(tmp_path)
        MERGED.save_pretrained(tmp_path)
        loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("the other ärm, the", "  two  spaces\nand lines "):
        assert loaded(text)["input_ids"] == MERGED(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"], skip_special_tokens=True) == text
    assert loaded.pad_token_id == MERGED.pad_token_id
    assert loaded.mask_token_id == MERGED.mask_token_id
