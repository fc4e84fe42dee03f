"""A task that trains in a millisecond: fit a number to each row of ragged examples, as a language model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from foedus.core.seeds import SeedKey, torch_seeded
from foedus.federation.messages import Sums
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.task import Batch, Example, Loss
from foedus.training.workspace import Workspace

WIDTH = 3
CPU = torch.device("cpu")


@dataclass(frozen=True)
class RowFitting:
    """Squared error of a model's number for every row.

    hidden: share of rows that training hides at random, as masking does.
    trouble: what happens when an example whose first target is over 100 is collated.
    """

    hidden: float = 0.0
    trouble: Exception | None = None

    auto_class: ClassVar[str] = "AutoModel"
    peft_task_type: ClassVar[str | None] = None
    headline: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    def encode(self, rows: pa.Table) -> Sequence[Example]:
        raise NotImplementedError

    def length(self, example: Example) -> int:
        return len(example["targets"])

    def collate(self, examples: Sequence[Example], key: SeedKey | None = None) -> Batch:
        if self.trouble is not None and any(float(example["targets"][0]) > 100 for example in examples):
            raise self.trouble
        counted = [torch.ones(len(example["targets"])) for example in examples]
        if key is not None and self.hidden:
            generator = key.torch()
            counted = [(torch.rand(len(c), generator=generator) >= self.hidden).float() for c in counted]
        return {
            "inputs": _padded([example["inputs"] for example in examples]),
            "targets": _padded([example["targets"] for example in examples]),
            "counted": _padded(counted),
        }

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        errors = (model(batch["inputs"]).squeeze(-1).float() - batch["targets"]) ** 2
        return Loss((errors * batch["counted"]).sum(), float(batch["counted"].sum()))

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        errors = (model(batch["inputs"]).squeeze(-1).float() - batch["targets"]) ** 2
        sums: Tensor = (errors * batch["counted"]).sum(1)
        return sums / batch["counted"].sum(1).clamp(min=1)

    def tally(self, model: nn.Module, batch: Batch) -> Sums:
        loss = self.loss(model, batch)
        return {"loss": loss.total.double(), "units": torch.tensor(loss.units, dtype=torch.float64)}

    def score(self, sums: Sums) -> Mapping[str, float]:
        return {"loss": float(sums["loss"] / sums["units"])}


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def small_model(dropout: float = 0.0) -> nn.Module:
    """Return the same small model every time."""
    with torch_seeded(SeedKey.from_seed(0)):
        return nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def examples(count: int, seed: int = 0, longest: int = 6) -> list[Example]:
    """Return examples of 1 to `longest` rows, whose targets a linear model could nearly fit."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    inputs = [torch.randn(length, WIDTH, generator=generator) for length in lengths]
    return [{"inputs": x, "targets": x.sum(-1) + 0.1 * torch.randn(len(x), generator=generator)} for x in inputs]


def workspace_for(settings: LocalSettings, model: nn.Module | None = None) -> Workspace:
    """Return a workspace over all parameters of a model."""
    model = model if model is not None else small_model()
    return Workspace(model, dict(model.named_parameters()), settings, CPU)


def site(
    settings: LocalSettings,
    rows: Sequence[Example] | None = None,
    *,
    workspace: Workspace | None = None,
    task: RowFitting | None = None,
    name: str = "a",
    test: Sequence[Example] = (),
) -> SiteTask:
    """Return a participant of ten examples, in a workspace of its own unless one is given."""
    return SiteTask(
        task=task or RowFitting(),
        workspace=workspace or workspace_for(settings),
        settings=settings,
        splits={"train": examples(10) if rows is None else rows, "test": test},
        key=SeedKey.from_seed(0).child("participant", name),
    )
