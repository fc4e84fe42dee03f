"""What each record of a batch adds to one parameter's gradient: its norm, and its clipped share of a sum.

A weight W of shape (R, C) that is used as a matrix gets from record i the gradient G_i = Σ_t l_t r_tᵀ, over the
positions t of the record: l is what flows back into W's rows, r what stood at its columns. A table that is looked up
gets Σ_s e_{ids_s} g_sᵀ. A weight may be used several times in one forward pass, and both ways (a language model's
tied head and embedding): the record's gradient is the sum over all uses, and its norm is the norm of that sum.

With n positions over all uses there are two ways to the norm:

- ghost norm, if 2 n² < R C: ‖G_i‖² = Σ_{s,t} (l_s·l_t)(r_s·r_t), from l and r alone; G_i never exists.
- else G_i itself, as soon as l and r are there, which are then let go. That is also the smaller of the two to keep:
  2 n² ≥ R C means n (R + C) ≥ √2 R C.

Sources: ghost norms, Li et al. 2022, arXiv:2110.05679, section 4; the choice by 2 n² < R C, Bu et al. 2022,
arXiv:2205.10683; using l and r again for the clipped sum, Bu et al. 2023, arXiv:2210.00038.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]


@dataclass
class Contributions:
    """One parameter's gradients by record, in one batch; all arithmetic is in float32 (float64 for float64 models).

    shape: the parameter's.
    records: B, the batch's records.
    uses, positions: how often the forward pass used it, and at how many positions of a record altogether.
    """

    shape: torch.Size
    records: int
    uses: int = 0
    positions: int = 0
    only_looked_up: bool = True
    outer: list[Pair] = field(default_factory=list)  # l and r, Shapes: (B, n, R) and (B, n, C)
    lookups: list[Pair] = field(default_factory=list)  # ids and g, Shapes: (B, n) and (B, n, C)
    whole: Tensor | None = None  # Shape: (B, *shape)
    arrived: int = 0

    def expect(self, positions: int, *, lookup: bool = False) -> None:
        """Count a use in the forward pass."""
        self.uses += 1
        self.positions += positions
        self.only_looked_up &= lookup

    @property
    def is_complete(self) -> bool:
        """Whether the gradients of all uses have arrived; one that the losses do not depend on never does."""
        return self.arrived == self.uses

    @property
    def _keeps_whole(self) -> bool:
        if self.only_looked_up:  # the norm takes one pass over g, so a table is kept only if it is smaller than g
            return self.shape[0] <= self.positions
        return 2 * self.positions**2 >= self.shape.numel()

    def add_whole(self, gradients: Tensor) -> None:
        """Add each record's gradient itself. Shape: (B, *shape)."""
        self.arrived += 1
        self.whole = wide(gradients) if self.whole is None else self.whole + wide(gradients)

    def add_outer(self, left: Tensor, right: Tensor) -> None:
        """Add Σ_t l_t r_tᵀ. Shapes: (B, n, R) and (B, n, C)."""
        self.arrived += 1
        if not self._keeps_whole:
            self.outer.append((left, right))
            return
        left, right = wide(left).mT, wide(right)
        self.whole = torch.bmm(left, right) if self.whole is None else torch.baddbmm(self.whole, left, right)

    def add_lookup(self, ids: Tensor, gradients: Tensor) -> None:
        """Add Σ_s e_{ids_s} g_sᵀ. Shapes: (B, n) and (B, n, C)."""
        self.arrived += 1
        if not self._keeps_whole:
            self.lookups.append((ids, gradients))
            return
        rows, columns = self.shape
        if self.whole is None:
            self.whole = wide(gradients).new_zeros((self.records, rows, columns))
        self.whole.view(-1, columns).index_add_(0, self._rows_by_record(ids), wide(gradients).reshape(-1, columns))

    def squared_norms(self, gram: Gram) -> Tensor | None:
        """Return ‖G_i‖² of each record, or None if the losses do not depend on the parameter. Shape: (B,)."""
        if self.whole is not None:
            return self.whole.flatten(1).square().sum(1)
        terms: list[Tensor] = []
        if self.lookups:
            terms.append(self._lookup_norms())
        if self.outer:
            left, right = (_joined(tensors) for tensors in zip(*self.outer, strict=True))
            terms.append((gram(left) * gram(right)).sum((1, 2)))
            if self.lookups:
                terms.append(2 * self._cross_terms(left, right))
        return sum(terms[1:], terms[0]) if terms else None

    def add_clipped(self, factors: Tensor, total: Tensor | None) -> Tensor | None:
        """Return total + Σ_i factors_i G_i, with the total overwritten; None stands for a total of zeros."""
        if self.whole is not None:
            added = torch.mv(self.whole.flatten(1).T, factors).view(self.shape)
            return added if total is None else total.add_(added)
        for left, right in self.outer:
            scaled_left, scaled_right = _scaled(wide(left), wide(right), factors)
            rows, columns = scaled_left.flatten(0, 1).T, scaled_right.flatten(0, 1)
            total = torch.mm(rows, columns) if total is None else total.addmm_(rows, columns)
        for ids, gradients in self.lookups:
            scaled = (wide(gradients) * factors[:, None, None]).flatten(0, 1)
            if total is None:
                total = scaled.new_zeros(self.shape)
            total.index_add_(0, ids.flatten(), scaled)
        return total

    def forget(self, lost: Tensor) -> None:
        """Make the gradients of these records zero. lost: Shape: (B,), of booleans."""
        if self.whole is not None:
            self.whole = _without(self.whole, lost)
        self.outer = [(_without(left, lost), _without(right, lost)) for left, right in self.outer]
        self.lookups = [(ids, _without(gradients, lost)) for ids, gradients in self.lookups]

    def _rows_by_record(self, ids: Tensor) -> Tensor:
        """Return the places of looked-up rows in a stack of one table a record. Shape: (B n,)."""
        first = torch.arange(self.records, device=ids.device) * self.shape[0]
        return (ids + first[:, None]).flatten()

    def _lookup_norms(self) -> Tensor:
        ids = torch.cat([ids for ids, _ in self.lookups], 1)
        gradients = wide(_joined([gradients for _, gradients in self.lookups]))
        rows, place = self._rows_by_record(ids).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        sums = gradients.new_zeros((len(rows), gradients.shape[-1]))
        sums.index_add_(0, place, gradients.flatten(0, 1))
        norms = gradients.new_zeros(self.records)
        return norms.index_add_(0, rows // self.shape[0], sums.square().sum(1))

    def _cross_terms(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ⟨Σ_t l_t r_tᵀ, Σ_s e_{ids_s} g_sᵀ⟩ = Σ_{s,t} l_t[ids_s] (r_t·g_s). Shape: (B,)."""
        ids = torch.cat([ids for ids, _ in self.lookups], 1)
        gradients = _joined([gradients for _, gradients in self.lookups])
        picked = wide(left.gather(2, ids[:, None, :].expand(-1, left.shape[1], -1)))
        return (picked * torch.bmm(wide(right), wide(gradients).mT)).sum((1, 2))


class Gram:
    """Inner products of a record's positions; the last tensor's are kept, for query, key and value read the same."""

    def __init__(self) -> None:
        self._last: Pair | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """Return v vᵀ for each record. Shape: (B, n, C) to (B, n, n)."""
        if self._last is not None and _is_same(self._last[0], values):
            return self._last[1]
        widened = wide(values)
        products = torch.bmm(widened, widened.mT)
        self._last = (values, products)
        return products


def wide(values: Tensor) -> Tensor:
    """Return the values in float32 at least: products of bfloat16s are exact in it, and sums hardly lose."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _is_same(left: Tensor, right: Tensor) -> bool:
    return left.data_ptr() == right.data_ptr() and left.shape == right.shape and left.stride() == right.stride()


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), 1)


def _scaled(left: Tensor, right: Tensor, factors: Tensor) -> Pair:
    """Return the two, the smaller of them scaled by its record's factor."""
    by_record = factors[:, None, None]
    return (left * by_record, right) if left.numel() < right.numel() else (left, right * by_record)


def _without(values: Tensor, lost: Tensor) -> Tensor:
    return values.masked_fill(lost.view(-1, *[1] * (values.ndim - 1)), 0)
