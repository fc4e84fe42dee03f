from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from torch import nn

from foedus.core.errors import DataError
from foedus.tasks.text_classification import TextClassification
from tiny_models import LABELS, tiny, tiny_tokenizer
from tiny_tasks import ROWS


def task(*text: str, labels: tuple[str, ...] = LABELS, max_length: int = 24) -> TextClassification:
    return TextClassification(tiny_tokenizer("bert"), text or ("text",), "label", labels, max_length)


class Guesses(nn.Module):
    """A model whose logits are its inputs."""

    class config:  # noqa: N801 - what transformers calls it
        pass

    def forward(self, input_ids: torch.Tensor) -> Any:
        return type("Output", (), {"logits": nn.functional.one_hot(input_ids[:, 0], 4).float()})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_accuracy_and_macro_f1_are_scikit_learn_s(pairs: list[tuple[int, int]]) -> None:
    truth, guess = zip(*pairs, strict=True)
    batch = {"input_ids": torch.tensor(guess)[:, None], "labels": torch.tensor(truth)}
    four = task(labels=("a", "b", "c", "d"))
    score = four.score(four.tally(Guesses(), batch))
    assert score["accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert score["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro", zero_division=0))


def test_a_label_that_a_site_lacks_does_not_lower_its_macro_f1() -> None:
    batch = {"input_ids": torch.tensor([[0], [1]]), "labels": torch.tensor([0, 1])}
    four = task(labels=("a", "b", "c", "d"))
    assert four.score(four.tally(Guesses(), batch))["macro_f1"] == 1.0


def test_labels_are_numbered_as_listed() -> None:
    one, other = task(labels=("heart", "lung", "skin")), task(labels=("skin", "lung", "heart"))
    for first, second in zip(one.encode(ROWS), other.encode(ROWS), strict=True):
        assert int(first["labels"]) == 2 - int(second["labels"])


def test_labels_that_are_numbers_are_read_as_their_digits() -> None:
    rows = pa.table({"text": ["skin", "lung"], "label": [1, 0]})
    assert [int(example["labels"]) for example in task(labels=("0", "1")).encode(rows)] == [1, 0]


def test_texts_are_cut_off_at_max_length() -> None:
    lengths = [task(max_length=6).length(example) for example in task(max_length=6).encode(ROWS)]
    assert max(lengths) == 6
    assert min(lengths) == 3  # [CLS] skin [SEP]


def test_a_pair_of_texts_has_a_type_for_each() -> None:
    pair = task("text", "other")
    batch = pair.collate(pair.encode(ROWS))
    first = batch["input_ids"][1]  # skin, rash
    assert first[:3].tolist() == task().collate(task().encode(ROWS.slice(1, 1)))["input_ids"][0].tolist()
    assert batch["token_type_ids"][1][:3].tolist() == [0, 0, 0]
    assert batch["token_type_ids"][1][3] == 1
    model, _ = tiny("bert", "classification")
    swapped = TextClassification(pair.tokenizer, ("other", "text"), "label", LABELS, 24)
    model.eval()
    assert pair.loss(model, batch).total != swapped.loss(model, swapped.collate(swapped.encode(ROWS))).total


@pytest.mark.parametrize("family", ["distilbert", "gpt2", "roberta"])
def test_pairs_work_for_models_without_token_types(family: Any) -> None:
    model, tokenizer = tiny(family, "classification")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    pair = TextClassification(tokenizer, ("text", "other"), "label", LABELS, 24)
    assert torch.isfinite(pair.loss(model, pair.collate(pair.encode(ROWS))).total)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "bart"])
def test_an_empty_text_is_classified_like_any_other(family: Any) -> None:
    model, tokenizer = tiny(family, "classification")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    model.eval()
    classify = TextClassification(tokenizer, ("text",), "label", LABELS, 24)
    rows = pa.table({"text": ["", "the left lung"], "label": ["skin", "lung"]})
    empty, full = classify.encode(rows)
    assert classify.length(empty) >= 1
    alone = classify.loss(model, classify.collate([empty])).total
    other = classify.loss(model, classify.collate([full])).total
    torch.testing.assert_close(classify.loss(model, classify.collate([empty, full])).total, alone + other)


def test_a_label_that_is_not_listed_is_refused_without_showing_it() -> None:
    rows = pa.table({"text": ["skin", "lung"], "label": ["Jane Doe", "lung"]})
    with pytest.raises(DataError, match="1 of 2 rows have a label that is not one of the 3 labels") as caught:
        task().encode(rows)
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize("column", ["text", "label"])
def test_a_row_without_a_value_is_refused(column: str) -> None:
    rows = pa.table({"text": ["skin", "lung"], "label": ["skin", "lung"], column: ["skin", None]})
    with pytest.raises(DataError, match=f"column '{column}': 1 of 2 rows have no value"):
        task().encode(rows)
