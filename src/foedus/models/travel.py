"""Which parameters travel between the coordinator and the participants, and under which names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from foedus.core.errors import ModelError

# What PEFT's wrappers add to a parameter's name. "default" is the name of the one adapter.
_PEFT_PREFIX = "base_model.model."
_PEFT_PARTS = frozenset({"default", "modules_to_save"})


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of a model's coordinates; tied weights are counted once."""

    total: int
    trained: int
    sent: int


def travelling(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by clean names, in the model's order; tied weights once.

    The names are those of the Transformer itself, whatever PEFT wraps around it. A trainable parameter
    that the task never uses (it gets no gradient) travels too, unchanged.
    Raises: ModelError if nothing is trainable, or training changes values that are no parameters.
    """
    _refuse_running_statistics(model)
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trainable:
        raise ModelError(f"nothing can be trained: every parameter of {type(model).__name__} is frozen")
    result = {clean_name(name): parameter for name, parameter in trainable}
    assert len(result) == len(trainable), "two parameters have one clean name"
    return result


def clean_name(name: str) -> str:
    """Return the parameter's name without what PEFT added.

    >>> clean_name("base_model.model.bert.layer.0.query.lora_A.default.weight")
    'bert.layer.0.query.lora_A.weight'
    >>> clean_name("base_model.model.classifier.modules_to_save.default.bias")
    'classifier.bias'
    >>> clean_name("bert.pooler.dense.bias")
    'bert.pooler.dense.bias'
    """
    if not name.startswith(_PEFT_PREFIX):
        return name
    return ".".join(part for part in name.removeprefix(_PEFT_PREFIX).split(".") if part not in _PEFT_PARTS)


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Return how many coordinates the model has, how many are trained, and how many are sent each way.

    The untrained copy of a head that PEFT keeps beside the trained one is not counted.
    """
    total = sum(p.numel() for name, p in model.named_parameters() if ".original_module." not in name)
    trained = sum(p.numel() for p in travelling(model).values())
    return ParameterCounts(total=total, trained=trained, sent=trained)


def _refuse_running_statistics(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if getattr(module, "running_mean", None) is not None:
            raise ModelError(
                f"cannot federate {type(model).__name__}: its layer {clean_name(name)} ({type(module).__name__}) keeps "
                "running statistics of its inputs, which change in training and are not averaged. Choose a model with "
                "LayerNorm or GroupNorm in place of BatchNorm, as language models have"
            )
