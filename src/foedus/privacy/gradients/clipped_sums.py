"""Sums of the records' gradients, each clipped: what DP-SGD adds noise to.

Sources: Abadi et al. 2016, arXiv:1607.00133, Algorithm 1; by book-keeping, Bu et al. 2023, arXiv:2210.00038.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foedus.core.trees import ParamTree
from foedus.privacy.gradients.contributions import Contributions, Gram, wide
from foedus.privacy.gradients.interception import Interception
from foedus.privacy.gradients.support import attentions_with_relative_bias, require_support
from foedus.privacy.gradients.taps import Taps


class ClippedSums:
    """Running sums of per-record gradients, each clipped to an L2 norm over all trainable parameters together.

    One forward and one backward pass a batch, and no gradient of a whole weight for each record, unless that is
    smaller than the activations it is made of (see contributions.py). Batches add up: a logical batch may be larger
    than memory holds.

    parameters: the model's trainable ones, by the names under which the sums are returned.
    Guarantee: with losses that depend on their own record alone, adding or removing one record moves the sums by at
        most clip_norm in L2 norm, but for the rounding of float32. A record whose gradient is not finite adds nothing.
    Raises: ModelError, naming the first trainable parameter that lies outside the supported layers, or what couples
        records.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, nn.Parameter], clip_norm: float) -> None:
        if not clip_norm > 0:
            raise ValueError(f"cannot clip gradients to the norm {clip_norm}; it must be above 0")
        require_support(model, parameters)
        self._parameters = dict(parameters)
        self._clip_norm = clip_norm
        self._attentions = attentions_with_relative_bias(model, parameters)
        self._sums: dict[str, Tensor] = {}

    def add(self, losses_of: Callable[[], Tensor], records: int) -> Tensor:
        """Add Σ_i min(1, C / ‖g_i‖) g_i, with g_i the gradient of record i's loss; return the losses, detached.

        losses_of: computes one loss a record, in a mode of its own choice (dropout, bf16 autocast, checkpointing).
            No loss may depend on another record. Shape: (records,).
        records: at least 1. An empty batch, which Poisson sampling gives, is for the caller to skip; what follows
            the sums (noise, step, accounting) happens all the same.
        Raises: ModelError if a trainable parameter is used in a way that hides whose gradient is whose.
        """
        if records < 1:
            raise ValueError("a batch of no records adds nothing; skip it, and still add noise, step and account")
        norms = _JointNorms()
        taps = Taps(self._parameters, records, norms.add)
        interception = Interception(taps)
        with torch.enable_grad(), interception.biases_by_record(self._attentions), interception:
            losses = losses_of()
            if losses.shape != (records,) or not losses.requires_grad:
                raise ValueError(f"the losses must be {records} differentiable ones, not {tuple(losses.shape)}")
            taps.start_backward()
            _run_backward(losses)
        with torch.no_grad():
            self._add_clipped(taps.contributions, norms)
        return losses.detach()

    def take(self) -> ParamTree:
        """Return the sums since the last call, in float32, and start anew; zeros where nothing was added."""
        taken, self._sums = self._sums, {}
        return {
            name: taken[name] if name in taken else torch.zeros_like(wide(parameter.detach()))
            for name, parameter in self._parameters.items()
        }

    def _add_clipped(self, contributions: Mapping[str, Contributions], norms: _JointNorms) -> None:
        for one in contributions.values():
            if not one.is_complete:  # a use that the losses do not depend on
                norms.add(one)
        if norms.squared is None:
            return
        factors = (self._clip_norm / norms.squared.sqrt()).clamp(max=1)
        lost = ~norms.squared.isfinite()
        if bool(lost.any()):  # 0 * inf would be nan, in everybody's sum
            factors = factors.masked_fill(lost, 0)
            for one in contributions.values():
                one.forget(lost)
        for name, one in contributions.items():
            total = one.add_clipped(factors, self._sums.pop(name, None))
            if total is not None:
                self._sums[name] = total


def _run_backward(losses: Tensor) -> None:
    """Run the backward pass of the losses' sum, with what intercepts PyTorch's functions left active.

    torch.autograd.backward would be intercepted itself, and run with the interception switched off: then what
    gradient checkpointing computes again would not be what was computed before. So this is its last line.
    """
    engine: Any = torch.autograd.Variable._execution_engine
    one = torch.ones_like(losses)
    engine.run_backward((losses,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)


class _JointNorms:
    """Squared norms over all parameters, added up as their gradients arrive, while these lie in the cache."""

    def __init__(self) -> None:
        self.squared: Tensor | None = None  # Shape: (B,)
        self._gram = Gram()

    @torch.no_grad()
    def add(self, contributions: Contributions) -> None:
        norms = contributions.squared_norms(self._gram)
        if norms is not None:
            self.squared = norms if self.squared is None else self.squared + norms
