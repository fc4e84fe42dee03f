"""One label for a text, or for a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from foedus.core.errors import DataError
from foedus.core.seeds import SeedKey
from foedus.federation.messages import Sums
from foedus.tasks.encoding import EncodedRows, pad, padding_mask, text_column, tokenise
from foedus.tasks.model_calls import compute_logits
from foedus.training.task import Batch, Example, Loss


@dataclass(frozen=True)
class TextClassification:
    """Texts to labels.

    text: one column, or two for a pair such as premise and hypothesis.
    labels: in the order of the model's outputs; the label column's values, written out.
    """

    tokenizer: Any
    text: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    max_length: int

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str | None] = "SEQ_CLS"
    headline: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def encode(self, rows: pa.Table) -> Sequence[Example]:
        """Return tokens and label numbers.

        Raises: DataError if a row has no text or label, or a label that is not listed.
        """
        numbers = {label: number for number, label in enumerate(self.labels)}
        known = [numbers.get(value, -1) for value in text_column(rows, self.label)]
        if unknown := known.count(-1):
            raise DataError(
                f"column '{self.label}': {unknown} of {len(known)} rows have a label that is not one of the "
                f"{len(self.labels)} labels of the run. Add it to task.labels, or remove the rows"
            )
        texts = [text_column(rows, name) for name in self.text]
        columns = tokenise(self.tokenizer, *texts, max_length=self.max_length)
        return EncodedRows(columns, {"labels": torch.tensor(known, dtype=torch.int64)})

    def length(self, example: Example) -> int:
        """Return the tokens of the text."""
        return len(example["input_ids"])

    def collate(self, examples: Sequence[Example], key: SeedKey | None = None) -> Batch:
        """Return the examples padded on the right; nothing is random."""
        tokens = [example["input_ids"] for example in examples]
        batch = {
            "input_ids": pad(tokens, self.tokenizer.pad_token_id),
            "attention_mask": padding_mask(tokens),
            "labels": torch.stack([example["labels"] for example in examples]),
        }
        if "token_type_ids" in examples[0]:
            batch["token_type_ids"] = pad([example["token_type_ids"] for example in examples], 0)
        return batch

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the cross-entropy summed over records."""
        logits = compute_logits(model, batch).float()
        return Loss(F.cross_entropy(logits, batch["labels"], reduction="sum"), units=float(len(batch["labels"])))

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's cross-entropy."""
        return F.cross_entropy(compute_logits(model, batch).float(), batch["labels"], reduction="none")

    @torch.inference_mode()
    def tally(self, model: nn.Module, batch: Batch) -> Sums:
        """Return the summed loss and the confusion matrix: rows are true labels, columns predicted ones."""
        logits, truth = compute_logits(model, batch).float(), batch["labels"]
        loss = F.cross_entropy(logits, truth, reduction="sum")
        size = len(self.labels)
        pairs = torch.bincount((truth * size + logits.argmax(-1)).cpu(), minlength=size * size)
        return {"loss": loss.cpu().double(), "confusion": pairs.view(size, size).double()}

    def score(self, sums: Sums) -> Mapping[str, float]:
        """Return accuracy, macro-F1 and mean loss; nothing if there were no records.

        Macro-F1 is the mean F1 of the labels that occur, in truth or as a prediction, as scikit-learn has it: a
        site that lacks a label is not charged for it.
        """
        if "confusion" not in sums or (records := float(sums["confusion"].sum())) == 0:
            return {}
        correct = sums["confusion"].diagonal()
        occurrences = sums["confusion"].sum(0) + sums["confusion"].sum(1)  # as truth plus as prediction
        f1 = 2 * correct[occurrences > 0] / occurrences[occurrences > 0]
        return {
            "accuracy": float(correct.sum()) / records,
            "macro_f1": float(f1.mean()),
            "loss": float(sums["loss"]) / records,
        }
