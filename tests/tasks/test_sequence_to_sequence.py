import dataclasses
from typing import Any

import pytest
import torch

from foedus.tasks.sequence_to_sequence import SequenceToSequence, _teacher_forced_logits
from foedus.tasks.token_loss import IGNORED
from tiny_models import Family, tiny
from tiny_tasks import ROWS


def set_up(family: Family, **options: Any) -> tuple[Any, SequenceToSequence]:
    model, tokenizer = tiny(family, "sequence_to_sequence")
    return model.eval(), SequenceToSequence(tokenizer, "text", "other", 24, 12, **options)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_decoder_reads_what_the_model_itself_would_make_of_the_targets(family: Family) -> None:
    model, task = set_up(family)
    batch = task.collate(task.encode(ROWS))
    with torch.inference_mode():
        own = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["targets"])
        torch.testing.assert_close(_teacher_forced_logits(model, batch), own.logits)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_targets_end_with_the_end_of_text_and_are_padded_with_what_is_ignored(family: Family) -> None:
    _, task = set_up(family)
    targets = task.collate(task.encode(ROWS))["targets"]
    for row in targets:
        assert row[row != IGNORED][-1] == task.tokenizer.eos_token_id
        assert task.tokenizer.pad_token_id not in row


def test_source_and_target_are_cut_off_apart() -> None:
    _, task = set_up("t5")
    short = dataclasses.replace(task, max_length=5, max_target_length=3)
    examples = short.encode(ROWS)
    assert max(len(example["input_ids"]) for example in examples) == 5
    assert max(len(example["targets"]) for example in examples) == 3
    assert max(short.length(example) for example in examples) == 8


def test_the_prefix_stands_before_every_source() -> None:
    _, task = set_up("t5", prefix="translate: ")
    for example, text in zip(task.encode(ROWS), ROWS["text"].to_pylist(), strict=True):
        read = task.tokenizer.decode(example["input_ids"])
        assert read.startswith(f"translate: {text}"[:20])


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_model_that_learnt_its_rows_by_heart_writes_them_exactly(family: Family) -> None:
    model, task = set_up(family, generate=True)
    rows = ROWS.slice(0, 2)
    batch = task.collate(task.encode(rows))
    assert task.score(task.tally(model, batch))["exact_match"] == 0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        torch.autograd.backward(task.loss(model, batch).total)
        optimizer.step()
        optimizer.zero_grad()
    score = task.score(task.tally(model, batch))
    assert score["exact_match"] == 1
    assert score["token_accuracy"] == 1
