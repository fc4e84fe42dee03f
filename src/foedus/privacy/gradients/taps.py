"""Taps on the outputs of layers: what a forward pass does with a parameter, and what flows back to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foedus.core.errors import ModelError
from foedus.privacy.gradients.contributions import Contributions

Receive = Callable[..., None]


class Taps:
    """One batch's taps, and the contributions that they have gathered.

    parameters: the trainable ones, by name.
    records: B; what the model computes has the records along its first axis.
    on_complete: called with a parameter's contributions when none can come any more.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        records: int,
        on_complete: Callable[[Contributions], None],
    ) -> None:
        self.records = records
        self.contributions = {name: Contributions(p.shape, records) for name, p in parameters.items()}
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._on_complete = on_complete
        device = next(iter(parameters.values())).device
        self._anchor = torch.zeros((), device=device, requires_grad=True)  # gives outputs of frozen layers a gradient
        self._is_forward = True

    def start_backward(self) -> None:
        """Stop counting uses: what is computed from now on is computed again, for gradient checkpointing."""
        self._is_forward = False

    def trainable_in(self, values: Iterable[Any]) -> str | None:
        """Return the name of the first trainable parameter among the values, or in a list among them."""
        for value in values:
            if isinstance(value, Tensor):
                if (name := self._names.get(id(value))) is not None:
                    return name
            elif isinstance(value, tuple | list) and (found := self.trainable_in(value)) is not None:
                return found
        return None

    def gathering(self, parameter: Tensor) -> Contributions:
        """Return where the gradients of a trainable parameter go."""
        return self.contributions[self._names[id(parameter)]]

    def cut(self, parameter: Tensor | None) -> tuple[Tensor | None, Contributions | None]:
        """Return the tensor cut off from autograd, and where its gradients go if it is trainable."""
        if parameter is None or id(parameter) not in self._names:
            return parameter, None
        return parameter.detach(), self.gathering(parameter)

    def by_record(self, values: Tensor, user: str | None) -> Tensor:
        """Return the values as (B, positions, features), cut off from autograd.

        Raises: ModelError if the first axis is not the records'.
        """
        if values.ndim < 2 or values.shape[0] != self.records:
            raise cannot_tell_apart(user, f"is applied to {tuple(values.shape)} values for {self.records} records")
        return values.detach().reshape(self.records, -1, values.shape[-1])

    def expect(self, contributions: Contributions | None, positions: int, *, lookup: bool = False) -> None:
        """Count a use in the forward pass."""
        if contributions is not None and self._is_forward:
            contributions.expect(positions, lookup=lookup)

    def tap(self, output: Tensor, receive: Receive, *saved: Tensor) -> Tensor:
        """Return the output; when its gradient is known, `receive` gets that and the saved tensors."""
        tapped: Tensor = _Tap.apply(output, self._anchor, receive, *saved)  # type: ignore[no-untyped-call]
        return tapped

    def received(self, *contributions: Contributions | None) -> None:
        """Hand on those that are complete."""
        for one in contributions:
            if one is not None and one.is_complete:
                self._on_complete(one)


def cannot_tell_apart(parameter: str | None, reason: str) -> ModelError:
    """Return the error that refuses a model whose gradients cannot be had record by record."""
    return ModelError(
        f"cannot clip the gradient of each record: {parameter} {reason}. Private training knows linear, embedding and "
        "norm layers with one row a record. Train fewer parameters with model.tuning.kind: lora or head, or choose "
        "another model"
    )


class _Tap(torch.autograd.Function):
    """The identity. It saves as autograd does, so that gradient checkpointing drops and recomputes what it saves."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor, receive: Receive, *saved: Tensor) -> Tensor:
        ctx.receive = receive
        ctx.save_for_backward(*saved)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        ctx.receive(gradient, *saved)
        return gradient, None, None, *(None for _ in saved)
