"""From `task` to the object that encodes, trains and scores it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from foedus.config import sections
from foedus.tasks.causal_lm import CausalLM
from foedus.tasks.masked_lm import MaskedLM
from foedus.tasks.sequence_to_sequence import SequenceToSequence
from foedus.tasks.text_classification import TextClassification
from foedus.training.task import Task


def build_task(chosen: sections.Task, tokenizer: Any, labels: Sequence[str] | None) -> Task:
    """Return the task. labels: the classes that the participants agreed on, where the task has any."""
    match chosen:
        case sections.TextClassification():
            assert labels is not None, "read_data agrees on labels for classification"
            return TextClassification(tokenizer, tuple(chosen.text), chosen.label, tuple(labels), chosen.max_length)
        case sections.CausalLM():
            return CausalLM(tokenizer, chosen.text, chosen.max_length, chosen.packing)
        case sections.MaskedLM():
            return MaskedLM(tokenizer, chosen.text, chosen.max_length, chosen.mask_probability, chosen.packing)
        case sections.SequenceToSequence():
            return SequenceToSequence(
                tokenizer,
                chosen.source,
                chosen.target,
                chosen.max_length,
                chosen.max_target_length,
                chosen.prefix,
                chosen.generate,
            )
        case _:
            assert_never(chosen)


def longest_input(chosen: sections.Task) -> int:
    """Return how many tokens the model must be able to see at once."""
    if isinstance(chosen, sections.SequenceToSequence):
        return max(chosen.max_length, chosen.max_target_length)
    return chosen.max_length
