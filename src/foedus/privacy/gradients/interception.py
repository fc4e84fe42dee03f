"""Catching every use of a trainable parameter while a model computes.

Each PyTorch function that is called with a trainable parameter comes here. The few that Transformers are made of are
computed by layers.py, which learns the parameter's gradient record by record. Any other one raises, so that no share
of a gradient can be missed: a share that is missed would be released without a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from foedus.privacy.gradients.layers import RULES, shared_lookup
from foedus.privacy.gradients.taps import Taps, cannot_tell_apart


class Interception(TorchFunctionMode):
    """Hands every use of a trainable parameter to its rule, while it is active.

    It must be active in the backward pass too, where gradient checkpointing computes layers again.
    """

    def __init__(self, taps: Taps) -> None:
        super().__init__()
        self._taps = taps
        self._buckets: dict[int, Tensor] = {}  # of the tables whose bias is being computed

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute the function, by a rule if a trainable parameter is among its arguments."""
        kwargs = kwargs or {}
        parameter = self._taps.trainable_in(args) or self._taps.trainable_in(kwargs.values())
        if parameter is None:
            return func(*args, **kwargs)
        if func is F.embedding and id(args[1]) in self._buckets:
            self._buckets[id(args[1])] = args[0]
            return F.embedding(args[0], args[1].detach())
        if (rule := RULES.get(func)) is not None:
            return rule(self._taps, *args, **kwargs)
        result = func(*args, **kwargs)
        if _holds_tensor(result):
            raise cannot_tell_apart(parameter, f"is used outside a layer of a known kind ({func.__name__})")
        return result  # a shape, a type or a device

    @contextmanager
    def biases_by_record(self, attentions: Sequence[nn.Module]) -> Iterator[None]:
        """Make T5's biases of relative positions one a record.

        All records share a (1, heads, queries, keys) that is added to their scores, so that its gradient is a sum
        over records. A tap on one copy a record, which takes no memory, sees them apart.
        """
        for attention in attentions:
            attention.compute_bias = self._by_record(attention)  # type: ignore[assignment] # hides the class's
        try:
            yield
        finally:
            for attention in attentions:
                del attention.compute_bias

    def _by_record(self, attention: Any) -> Callable[..., Tensor]:
        compute = attention.compute_bias
        table = attention.relative_attention_bias.weight

        def compute_bias(*args: Any, **kwargs: Any) -> Tensor:
            self._buckets[id(table)] = table
            try:
                bias = compute(*args, **kwargs)
            finally:
                buckets = self._buckets.pop(id(table))
            return shared_lookup(self._taps, bias, buckets, table)

        return compute_bias


def _holds_tensor(result: Any) -> bool:
    if isinstance(result, tuple | list):
        return any(_holds_tensor(part) for part in result)
    return isinstance(result, Tensor)
