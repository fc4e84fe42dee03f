"""Which of a model's parameters are hidden matrices: those that Muon is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from foedus.models.travel import travelling


def hidden_matrices(model: nn.Module) -> frozenset[str]:
    """Return the travelling names of the trainable matrices between the embeddings and the last layer.

    Left out are embeddings of tokens, positions and segments, the layer that gives the logits (a
    vocabulary, tied or not, or classes), and whatever has not two axes.
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
    """
    outer = {id(parameter) for module in _outer_modules(model) for parameter in module.parameters(recurse=False)}
    return frozenset(name for name, p in travelling(model).items() if p.ndim == 2 and id(p) not in outer)


def _outer_modules(model: Any) -> Iterator[nn.Module]:
    yield from (module for module in model.modules() if isinstance(module, nn.Embedding))
    get_output = getattr(model, "get_output_embeddings", None)
    output = get_output() if get_output is not None else None
    if output is not None:
        yield output
        return
    config = getattr(model, "config", None)
    if config is None:
        return
    prefix = f"{model.base_model_prefix}."
    for name, module in model.named_modules():
        is_last = isinstance(module, nn.Linear) and module.out_features == config.num_labels
        if is_last and not name.startswith(prefix):
            yield module
