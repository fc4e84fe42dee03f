from typing import Any

import pytest
import torch

from foedus.core.errors import DataError
from foedus.tasks.prediction import Text, predict
from tiny_models import LABELS, tiny

TEXTS = ["skin", "the left lung", "", "pain in the chest, " * 30]


def set_up(family: Any, head: Any) -> tuple[Any, Any]:
    model, tokenizer = tiny(family, head)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "gpt2", "llama", "t5", "bart"])
def test_labels_come_with_probabilities_in_falling_order(family: Any) -> None:
    model, tokenizer = set_up(family, "classification")
    texts = [text[:40] for text in TEXTS] * 5  # more than one batch
    predictions = predict("text_classification", model, tokenizer, texts, top_k=9)
    assert len(predictions) == len(texts)
    for text, prediction in zip(texts, predictions, strict=True):
        ranking = prediction["ranking"]
        assert {entry["label"] for entry in ranking} == set(LABELS)
        assert sum(entry["probability"] for entry in ranking) == pytest.approx(1)
        assert prediction["probability"] == max(entry["probability"] for entry in ranking)
        (alone,) = predict("text_classification", model, tokenizer, [text])
        assert alone["label"] == prediction["label"]
        assert alone["probability"] == pytest.approx(prediction["probability"], abs=1e-5)


def test_long_texts_are_cut_off_at_what_the_model_holds() -> None:
    model, tokenizer = set_up("bert", "classification")
    assert len(predict("text_classification", model, tokenizer, ["lung " * 500])) == 1


def test_pairs_are_classified_as_pairs() -> None:
    model, tokenizer = set_up("bert", "classification")
    pairs: list[Text] = [("skin", "lung"), ("lung", "skin")]
    one, two = predict("text_classification", model, tokenizer, pairs)
    assert one["probability"] != two["probability"]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_continuation_is_the_likeliest_and_does_not_depend_on_the_batch(family: Any) -> None:
    model, tokenizer = set_up(family, "causal_lm")
    together = predict("causal_lm", model, tokenizer, TEXTS, max_new_tokens=5)
    apart = [predict("causal_lm", model, tokenizer, [text], max_new_tokens=5)[0] for text in TEXTS]
    assert together == apart
    tokens = tokenizer("skin", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        likeliest = model(tokens).logits[0, -1].argmax()
    if likeliest != tokenizer.eos_token_id:
        assert tokenizer.decode(likeliest)[:1] == together[0]["text"][:1]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_and_decoder_write_a_text_for_each(family: Any) -> None:
    model, tokenizer = set_up(family, "sequence_to_sequence")
    texts = [text[:40] for text in TEXTS]
    together = predict("sequence_to_sequence", model, tokenizer, texts, max_new_tokens=5)
    apart = [predict("sequence_to_sequence", model, tokenizer, [text], max_new_tokens=5)[0] for text in texts]
    assert together == apart
    with_prefix = predict("sequence_to_sequence", model, tokenizer, ["skin"], max_new_tokens=5, prefix="to: ")
    assert with_prefix == predict("sequence_to_sequence", model, tokenizer, ["to: skin"], max_new_tokens=5)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_gaps_are_filled_with_the_likeliest_tokens(family: Any) -> None:
    model, tokenizer = set_up(family, "masked_lm")
    text = f"pain in the {tokenizer.mask_token} and {tokenizer.mask_token}"
    (prediction,) = predict("masked_lm", model, tokenizer, [text], top_k=3)
    assert len(prediction["gaps"]) == 2
    for gap in prediction["gaps"]:
        probabilities = [entry["probability"] for entry in gap]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len(gap) == 3
    assert prediction["text"].startswith("pain in the")
    assert tokenizer.mask_token not in prediction["text"] or prediction["gaps"][0][0]["token"] == tokenizer.mask_token


def test_a_text_without_a_gap_says_how_to_write_one() -> None:
    model, tokenizer = set_up("bert", "masked_lm")
    with pytest.raises(DataError, match=r"text 2 has no gap: write \[MASK\]"):
        predict("masked_lm", model, tokenizer, ["the [MASK]", "the lung"])
