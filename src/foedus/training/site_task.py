"""One participant's rows beside the shared model: local training and local evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from foedus.core.errors import ParticipantError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.core.trees import ParamTree
from foedus.federation.messages import Clock, Sums
from foedus.federation.protocols import Correction, Intervention, LocalResult
from foedus.training.batches import logical_batches, ordered_batches, steps_per_round
from foedus.training.pacing import Pace
from foedus.training.private_steps import PrivateSteps
from foedus.training.settings import LocalSettings, learning_rate_at
from foedus.training.task import Batch, Example, Task
from foedus.training.workspace import Workspace

# Leaves the gradient of the step of this number in the model; returns the summed loss, its units, and tokens.
LeaveGradient = Callable[[int], tuple[torch.Tensor, float, int]]


@dataclass(frozen=True)
class SiteTask:
    """A participant's encoded splits, and how it trains; the model is shared with the others.

    key: this participant's own; shuffling, dropout and masking in a round derive from it.
    pace: what decides on the steps of a round, if not the settings.
    private: how its steps hide each record, if they do; then no figure of its rows goes with the update.
    mark: is called after each step, and each batch that is evaluated.
    """

    task: Task
    workspace: Workspace
    settings: LocalSettings
    splits: Mapping[str, Sequence[Example]]
    key: SeedKey
    pace: Pace | None = None
    private: PrivateSteps | None = None
    mark: Callable[[], None] = lambda: None

    @property
    def hides_records(self) -> bool:
        """Whether its steps hide each record."""
        return self.private is not None

    @cached_property
    def _lengths(self) -> Mapping[str, Sequence[int]]:
        return {split: [self.task.length(example) for example in rows] for split, rows in self.splits.items()}

    def steps_of(self, round_index: int, speed: float | None = None) -> int:
        """Return the optimizer steps of a round, counted from 0. speed: what was measured before it."""
        if self.pace is not None:
            return self.pace.steps(round_index, speed)
        s = self.settings
        if self.private is not None:
            return self.private.plan.steps_per_round
        return steps_per_round(len(self._training_rows()), s.batch_size, s.accumulation, s.epochs, s.steps)

    def train(
        self,
        start: ParamTree,
        clock: Clock,
        correction: Correction | None = None,
        optimizer: ParamTree | None = None,
        *,
        speed: float | None = None,
        interventions: Mapping[int, Intervention] | None = None,
    ) -> LocalResult:
        """Train for one round's steps.

        The result's params lie in the model: they change with the next call on any participant.
        Raises: ParticipantError without training rows, or if the loss is not finite.
        """
        rows, settings, workspace = self._training_rows(), self.settings, self.workspace
        key = self.key.child("round", clock.round)
        steps, began = self.steps_of(clock.round, speed), self.pace.time() if self.pace else 0.0
        pending = dict(interventions or {})
        workspace.begin(start, optimizer)
        leave_gradient = (
            self._exact_gradients(rows, steps, key)
            if self.private is None
            else self._private_gradients(self.private, rows, clock, key)
        )
        step_sizes: list[float] = []
        loss_total, units, tokens = torch.zeros((), device=workspace.device), 0.0, 0
        with torch_seeded(key.child("dropout"), workspace.device):
            for index in range(steps):
                if index in pending:
                    workspace.change(pending.pop(index))
                total, step_units, step_tokens = leave_gradient(index)
                self.mark()
                if step_units == 0:
                    continue
                rate = learning_rate_at(settings, clock.progress(index / steps))
                workspace.step(rate, settings.gradient_clip, correction, start)
                step_sizes.append(rate)
                loss_total, units, tokens = loss_total + total, units + step_units, tokens + step_tokens
            for index in sorted(pending):
                workspace.change(pending[index])
        if units == 0:
            raise ParticipantError("its training rows hold nothing to learn from (no predicted token)")
        loss = float(loss_total) / units
        if not math.isfinite(loss):
            raise ParticipantError(f"its training loss is {loss}; a smaller local.learning_rate may help")
        kept = workspace.optimizer_state() if settings.keep_optimizer else None
        after = self.pace.speed_after(steps, self.pace.time() - began, speed) if self.pace else None
        weight = self._weight(tokens)
        metrics, counts = {"loss": loss}, {"steps": len(step_sizes), "tokens": tokens}
        if self.private is not None:  # no noise covers how well it fits its rows, or how long these are
            metrics, counts = {}, {"steps": len(step_sizes)}
        return LocalResult(workspace.live_params(), weight, step_sizes, metrics, kept, counts, after)

    def gradient(self, params: ParamTree) -> ParamTree:
        """Return the gradient of the mean loss over all training rows, without dropout.

        Raises: ParticipantError if records are hidden: no noise would cover it.
        """
        if self.private is not None:
            raise ParticipantError("a gradient over all its rows would leave it without noise, so it does not give one")
        rows = self._training_rows()
        self.workspace.load(params)
        self.workspace.mode(training=False)
        self.workspace.zero_grad()
        batches = ordered_batches(self._lengths["train"], self.settings.batch_size)
        self._backward(rows, batches, key=self.key.child("gradient"))
        gradient = self.workspace.gradients()
        self.workspace.zero_grad()
        return gradient

    def evaluate(self, params: ParamTree, split: str) -> Sums:
        """Return the task's statistics over a split, or nothing if it has no rows."""
        rows = self.splits.get(split, ())
        self.workspace.load(params)
        self.workspace.mode(training=False)
        sums: dict[str, torch.Tensor] = {}
        if not rows:
            return sums
        with torch.inference_mode():
            for indices in ordered_batches(self._lengths[split], self.settings.evaluation_batch_size):
                batch = self._on_device(self.task.collate([rows[i] for i in indices]))
                with self._precision():
                    tally = self.task.tally(self.workspace.model, batch)
                self.mark()
                for name, value in tally.items():
                    sums[name] = sums[name] + value if name in sums else value
        return {name: value.cpu() for name, value in sums.items()}

    def _weight(self, tokens_seen: int) -> float:
        """Return what this participant counts by: how much it holds, or how much of that it took in the round."""
        match self.settings.weighting:
            case "examples":
                return float(len(self._training_rows()))
            case "tokens":
                return float(sum(self._lengths["train"]))
            case "tokens_seen":
                return float(tokens_seen)
            case "uniform":
                return 1.0

    def _tokens(self, batches: Sequence[Sequence[int]]) -> int:
        """Return the training rows' tokens in the batches, padding left out."""
        return sum(self._lengths["train"][i] for indices in batches for i in indices)

    def _training_rows(self) -> Sequence[Example]:
        rows = self.splits.get("train", ())
        if not rows:
            raise ParticipantError("it has no training rows")
        return rows

    def _exact_gradients(self, rows: Sequence[Example], steps: int, key: SeedKey) -> LeaveGradient:
        """Return what leaves a step's gradient in the model; steps come in order, from 0."""
        settings = self.settings
        batches = logical_batches(
            self._lengths["train"],
            settings.batch_size,
            settings.accumulation,
            steps,
            key.child("batches"),
            group_by_length=settings.group_by_length,
        )

        def leave(index: int) -> tuple[torch.Tensor, float, int]:
            indices = next(batches)
            return *self._backward(rows, indices, key.child("collate", index)), self._tokens(indices)

        return leave

    def _private_gradients(
        self, private: PrivateSteps, rows: Sequence[Example], clock: Clock, key: SeedKey
    ) -> LeaveGradient:
        """Return what leaves a step's noisy gradient in the model, and tells nothing of its batch."""
        entropy, lengths = private.entropy(clock.round), self._lengths["train"]
        nothing = torch.zeros((), device=self.workspace.device)

        def losses_of(indices: Sequence[int], collation: SeedKey) -> torch.Tensor:
            batch = self._on_device(self.task.collate([rows[i] for i in indices], collation))
            with self._precision():
                return self.task.record_losses(self.workspace.model, batch)

        def leave(index: int) -> tuple[torch.Tensor, float, int]:
            batch = sorted(private.draw(entropy), key=lambda i: -lengths[i])  # like beside like, to save padding
            collation = key.child("collate", index)
            gradient = private.gradient(
                batch, self.settings.batch_size, lambda some: losses_of(some, collation.child(some[0])), entropy
            )
            self.workspace.set_gradients(gradient)
            return nothing, 1.0, 0

        return leave

    def _backward(
        self, rows: Sequence[Example], batches: Sequence[Sequence[int]], key: SeedKey
    ) -> tuple[torch.Tensor, float]:
        """Accumulate the gradient of the mean loss over all units of the batches; return sum and units."""
        total, units = torch.zeros((), device=self.workspace.device), 0.0
        for number, indices in enumerate(batches):
            batch = self._on_device(self.task.collate([rows[i] for i in indices], key.child(number)))
            with self._precision():
                loss = self.task.loss(self.workspace.model, batch)
            if loss.units > 0:
                alone = len(batches) == 1  # then dividing the loss saves a pass over the gradient
                (loss.total / loss.units if alone else loss.total).backward()  # type: ignore[no-untyped-call]
                total, units = total + loss.total.detach(), units + loss.units
        if units > 0 and len(batches) > 1:
            grads = [p.grad for p in self.workspace.parameters.values() if p.grad is not None]
            torch._foreach_mul_(grads, 1 / units)
        return total, units

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.workspace.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def _on_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.workspace.device, non_blocking=True) for name, tensor in batch.items()}
