"""What local training knows of a task: its inputs, its loss, its metrics.

An implementation is one file in foedus.tasks. The trainer, the round and the engines know only this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from torch import Tensor, nn

from foedus.core.seeds import SeedKey
from foedus.federation.messages import Sums

Example = Mapping[str, Tensor]  # one encoded record on the CPU: 1-D int32 token ids, 0-d int64 labels, …
Batch = Mapping[str, Tensor]  # examples padded and stacked; still on the CPU, the trainer moves it


@dataclass(frozen=True)
class Loss:
    """A loss that adds up: over micro-batches, and over participants.

    total: differentiable, 0-d, fp32: the sum over the batch's units.
    units: how many there are: records in classification, predicted tokens in language models. May be 0.
    """

    total: Tensor
    units: float


class Task(Protocol):
    """Inputs, loss and metrics of one kind of task.

    Statistics add up over batches and over participants: the same `score` is right for one site and
    for all of them together.
    """

    @property
    def auto_class(self) -> str:
        """The transformers class that loads the model, such as "AutoModelForSequenceClassification"."""
        ...

    @property
    def peft_task_type(self) -> str | None:
        """PEFT's name for the task, such as "SEQ_CLS"; None where PEFT has none."""
        ...

    @property
    def headline(self) -> str:
        """The metric that is shown first."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger headline metric is a better one."""
        ...

    def encode(self, rows: pa.Table) -> Sequence[Example]:
        """Return the rows as examples: compact, not padded, tokenised once."""
        ...

    def length(self, example: Example) -> int:
        """Return the example's tokens: for batches of like length, and for weighting by tokens."""
        ...

    def collate(self, examples: Sequence[Example], key: SeedKey | None = None) -> Batch:
        """Return the examples as one batch, padded to its longest.

        key: randomness of training, such as which tokens are masked. None is evaluation: the batch
            depends on the examples alone, and an example is treated alike in any batch.
        """
        ...

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the batch's summed loss; the trainer divides it."""
        ...

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each record's own loss, differentiable: the mean over its own units, 0 if it has none.

        No record's loss may depend on another record: private training bounds what one record does by clipping the
        gradient of its loss. A mean over the units of the whole batch would make all losses depend on each length.
        Shape: (records,), fp32.
        """
        ...

    def tally(self, model: nn.Module, batch: Batch) -> Sums:
        """Return the batch's additive statistics in float64, without gradients."""
        ...

    def score(self, sums: Sums) -> Mapping[str, float]:
        """Return the metrics that summed statistics give."""
        ...
