"""What each kind of layer's parameters get from a record: one function a PyTorch function, with its signature.

Each computes the layer with its trainable parameters cut off from autograd, and taps the output. Below, a is a layer's
input, g its output's gradient, and t runs over a record's positions; see contributions.py for what follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor

from foedus.privacy.gradients.contributions import wide
from foedus.privacy.gradients.taps import Taps, cannot_tell_apart


def linear(taps: Taps, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
    """Weight: Σ_t g_t a_tᵀ. Bias: Σ_t g_t."""
    user = taps.trainable_in([weight, bias])
    _refuse_as_input(taps, input)
    fixed_weight, of_weight = taps.cut(weight)
    fixed_bias, of_bias = taps.cut(bias)
    by_record = taps.by_record(input, user)
    for contributions in (of_weight, of_bias):
        taps.expect(contributions, by_record.shape[1])

    def receive(gradient: Tensor, *inputs: Tensor) -> None:
        flowing = _flat(gradient, taps.records)
        if of_weight is not None:
            of_weight.add_outer(flowing, inputs[0])
        if of_bias is not None:
            of_bias.add_whole(wide(flowing).sum(1))
        taps.received(of_weight, of_bias)

    output = F.linear(input, fixed_weight, fixed_bias)  # type: ignore[arg-type] # a weight is never None
    return taps.tap(output, receive, *([] if of_weight is None else [by_record]))


def conv1d(taps: Taps, bias: Tensor, input: Tensor, weight: Tensor) -> Tensor:  # noqa: A002
    """Transformers' Conv1D, as torch.addmm. Weight: Σ_t a_t g_tᵀ. Bias: Σ_t g_t.

    input: Shape (B n, C): Conv1D has put the records' positions one after the other.
    """
    user = taps.trainable_in([weight, bias])
    _refuse_as_input(taps, input)
    fixed_weight, of_weight = taps.cut(weight)
    fixed_bias, of_bias = taps.cut(bias)
    if len(input) % taps.records:
        raise cannot_tell_apart(user, f"is applied to {len(input)} rows for {taps.records} records")
    by_record = _flat(input.detach(), taps.records)
    for contributions in (of_weight, of_bias):
        taps.expect(contributions, by_record.shape[1])

    def receive(gradient: Tensor, *inputs: Tensor) -> None:
        flowing = _flat(gradient, taps.records)
        if of_weight is not None:
            of_weight.add_outer(inputs[0], flowing)
        if of_bias is not None:
            of_bias.add_whole(wide(flowing).sum(1))
        taps.received(of_weight, of_bias)

    output = torch.addmm(fixed_bias, input, fixed_weight)  # type: ignore[arg-type] # neither is None
    return taps.tap(output, receive, *([] if of_weight is None else [by_record]))


def embedding(  # noqa: PLR0917 - PyTorch's own signature
    taps: Taps,
    input: Tensor,  # noqa: A002
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Table: Σ_t e_{ids_t} g_tᵀ, nothing for the padding's row.

    ids of a batch of one, such as positions that all records share, give one output for each record.
    """
    user = taps.trainable_in([weight])
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise cannot_tell_apart(user, "is looked up with max_norm, scale_grad_by_freq or sparse")
    contributions = taps.gathering(weight)
    if input.ndim < 2 or input.shape[0] not in {1, taps.records}:
        raise cannot_tell_apart(user, f"is looked up with {tuple(input.shape)} ids for {taps.records} records")
    ids = input.flatten(1).expand(taps.records, -1)
    taps.expect(contributions, ids.shape[1], lookup=True)

    def receive(gradient: Tensor, ids: Tensor) -> None:
        flowing = _flat(gradient, taps.records)
        if padding_idx is not None:
            flowing = flowing.masked_fill((ids == padding_idx % len(weight))[:, :, None], 0)
        contributions.add_lookup(ids, flowing)
        taps.received(contributions)

    output = F.embedding(input, weight.detach())
    return taps.tap(output.expand(taps.records, *output.shape[1:]), receive, ids)


def shared_lookup(taps: Taps, bias: Tensor, buckets: Tensor, weight: Tensor) -> Tensor:
    """A bias of relative positions that all records share, as one a record. Table: as of an embedding.

    bias: Shape (1, heads, queries, keys), the table's rows at the buckets. buckets: Shape (queries, keys).
    """
    contributions = taps.gathering(weight)
    if bias.ndim != 4 or bias.shape[0] != 1:
        raise cannot_tell_apart(taps.trainable_in([weight]), f"gives a bias of shape {tuple(bias.shape)}")
    ids = buckets.flatten().expand(taps.records, -1)
    taps.expect(contributions, ids.shape[1], lookup=True)

    def receive(gradient: Tensor, ids: Tensor) -> None:
        contributions.add_lookup(ids, _flat(gradient.movedim(1, -1), taps.records))
        taps.received(contributions)

    return taps.tap(bias.expand(taps.records, -1, -1, -1), receive, ids)


def layer_norm(  # noqa: PLR0917 - PyTorch's own signature
    taps: Taps,
    input: Tensor,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Weight: Σ_t g_t â_t, with â the normalised input. Bias: Σ_t g_t."""
    user = taps.trainable_in([weight, bias])
    _refuse_as_input(taps, input)
    fixed_weight, of_weight = taps.cut(weight)
    fixed_bias, of_bias = taps.cut(bias)
    _refuse_wide(user, normalized_shape)
    by_record = taps.by_record(input, user)
    for contributions in (of_weight, of_bias):
        taps.expect(contributions, by_record.shape[1])

    def receive(gradient: Tensor, *inputs: Tensor) -> None:
        flowing = wide(_flat(gradient, taps.records))
        if of_weight is not None:
            normal = F.layer_norm(wide(inputs[0]), normalized_shape, eps=eps)
            of_weight.add_whole((flowing * normal).sum(1))
        if of_bias is not None:
            of_bias.add_whole(flowing.sum(1))
        taps.received(of_weight, of_bias)

    output = F.layer_norm(input, normalized_shape, fixed_weight, fixed_bias, eps)
    return taps.tap(output, receive, *([] if of_weight is None else [by_record]))


def rms_norm(
    taps: Taps,
    input: Tensor,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Tensor,
    eps: float | None = None,
) -> Tensor:
    """Weight: Σ_t g_t â_t, with â the input over its root mean square."""
    _refuse_as_input(taps, input)
    _refuse_wide(taps.trainable_in([weight]), normalized_shape)
    return multiply(taps, F.rms_norm(input, normalized_shape, eps=eps), weight)


def multiply(taps: Taps, input: Tensor, other: Tensor) -> Tensor:  # noqa: A002
    """A norm's last step in Llama, T5 and their kin, a weight times the normalised â: Σ_t g_t â_t."""
    user = taps.trainable_in([input, other])
    weight, values = (input, other) if taps.trainable_in([input]) is not None else (other, input)
    _refuse_as_input(taps, values)
    contributions = taps.gathering(weight)
    if weight.ndim != 1 or not isinstance(values, Tensor) or values.shape[-1:] != weight.shape:
        raise cannot_tell_apart(user, "is multiplied by something other than a norm's features")
    by_record = taps.by_record(values, user)
    taps.expect(contributions, by_record.shape[1])

    def receive(gradient: Tensor, values: Tensor) -> None:
        contributions.add_whole((wide(_flat(gradient, taps.records)) * wide(values)).sum(1))
        taps.received(contributions)

    return taps.tap(weight.detach() * values, receive, by_record)


RULES: Mapping[Any, Callable[..., Tensor]] = {
    F.linear: linear,
    torch.addmm: conv1d,
    F.embedding: embedding,
    F.layer_norm: layer_norm,
    F.rms_norm: rms_norm,
    torch.mul: multiply,
    Tensor.mul: multiply,
}


def _flat(values: Tensor, records: int) -> Tensor:
    """Return the values as (B, positions, features)."""
    return values.reshape(records, -1, values.shape[-1])


def _refuse_as_input(taps: Taps, values: Tensor) -> None:
    if (name := taps.trainable_in([values])) is not None:
        raise cannot_tell_apart(name, "is itself the input of a layer")


def _refuse_wide(user: str | None, normalized_shape: Sequence[int]) -> None:
    if len(normalized_shape) != 1:
        raise cannot_tell_apart(user, f"normalises over {len(normalized_shape)} axes")
