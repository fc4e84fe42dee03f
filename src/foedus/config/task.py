"""From `task` to the object that encodes, trains and scores it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from foedus.config import sections
from foedus.tasks.text_classification import TextClassification
from foedus.training.task import Task


def build_task(chosen: sections.Task, tokenizer: Any, labels: Sequence[str] | None) -> Task:
    """Return the task. labels: the classes that the participants agreed on, where the task has any."""
    match chosen:
        case sections.TextClassification():
            assert labels is not None
            return TextClassification(tokenizer, tuple(chosen.text), chosen.label, tuple(labels), chosen.max_length)
        case _:
            raise NotImplementedError
