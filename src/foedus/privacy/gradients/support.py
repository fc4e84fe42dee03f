"""Which models' gradients can be clipped record by record; the others are refused before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import nn

from foedus.core.errors import ModelError
from foedus.privacy.gradients.taps import cannot_tell_apart

_NORMS = re.compile(r"(RMS|Layer)Norm$")  # the many classes that transformers has, one for each family
_EXPERTS = re.compile(r"MoE|Moe|Experts|Router|SparseM[Ll][Pp]")


def require_support(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
    """Check that every trainable parameter lies in a supported layer, and that nothing mixes records.

    Raises: ModelError.
    """
    _require_independent_records(model)
    _require_all_named(model, parameters)
    supported = {
        id(parameter)
        for module in model.modules()
        if _is_supported(module)
        for parameter in module.parameters(recurse=False)
    }
    owners = _owners(model)
    for name, parameter in parameters.items():
        if id(parameter) not in supported:
            raise cannot_tell_apart(name, f"belongs to a {owners[id(parameter)]}")


def attentions_with_relative_bias(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Sequence[nn.Module]:
    """Return the attention layers that own a trainable table of relative positions, T5's way.

    Raises: ModelError if such a table is not used in T5's way, in which records cannot be told apart.
    """
    trainable = {id(parameter): name for name, parameter in parameters.items()}
    found = []
    for module in model.modules():
        table = getattr(module, "relative_attention_bias", None)
        if isinstance(table, nn.Embedding) and id(table.weight) in trainable:
            if not hasattr(module, "compute_bias"):
                raise cannot_tell_apart(trainable[id(table.weight)], f"is shared by all records in {_kind(module)}")
            found.append(module)
    return found


def _is_supported(module: nn.Module) -> bool:
    if isinstance(module, nn.Embedding):
        return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
    if isinstance(module, nn.Linear | nn.LayerNorm | nn.RMSNorm):
        return True
    return _kind(module) == "Conv1D" or _NORMS.search(_kind(module)) is not None


def _require_independent_records(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ModelError(
                f"cannot train {_kind(model)} privately: {name} ({_kind(module)}) normalises over a batch, so each "
                "record's gradient depends on the others. Choose a model with LayerNorm or RMSNorm"
            )
        if _EXPERTS.search(_kind(module)):
            raise ModelError(
                f"cannot train {_kind(model)} privately: {name} ({_kind(module)}) spreads the tokens of a batch over "
                "experts, whose loads and losses depend on all records. Choose a model without experts"
            )


def _require_all_named(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
    named = {id(parameter) for parameter in parameters.values()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in named:
            raise ValueError(f"{name} is trainable, but not among the parameters whose gradients are clipped")


def _owners(model: nn.Module) -> dict[int, str]:
    """Return the kind of module that holds each parameter, by its id."""
    return {id(p): _kind(module) for module in model.modules() for p in module.parameters(recurse=False)}


def _kind(module: nn.Module) -> str:
    return type(module).__name__
