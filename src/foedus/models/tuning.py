"""Which parameters of a model are trained: all, LoRA adapters, or the head alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from foedus.core.errors import ModelError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.models.foreign_calls import explained, quiet_transformers
from foedus.models.loading import LoadedModel
from foedus.models.sources import suggest


@dataclass(frozen=True)
class Full:
    """Every parameter is trained."""


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters are trained, and heads that are new; the rest is frozen.

    alpha: the adapters' output is scaled by alpha / rank.
    target_modules: names of linear layers that get an adapter; "auto" is the attention's query and
        value, "all-linear" every linear layer below the head.
    Source: Hu et al. 2021, arXiv:2106.09685.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target_modules: Literal["auto", "all-linear"] | tuple[str, ...] = "auto"


@dataclass(frozen=True)
class Head:
    """The task's head is trained; everything below it is frozen."""


Tuning = Full | LoRA | Head

# How architectures that PEFT has no entry for call the query and value layers of their attention.
_QUERY_AND_VALUE = (
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("q_lin", "v_lin"),
    ("q", "v"),
    ("query_proj", "value_proj"),
    ("query_key_value",),
    ("qkv_proj",),
    ("Wqkv",),
    ("c_attn",),
)


def tune(loaded: LoadedModel, tuning: Tuning, peft_task_type: str | None, key: SeedKey) -> nn.Module:
    """Return the model with exactly the chosen parameters trainable; it takes over the loaded one.

    peft_task_type: PEFT's name for the task, or None where it has none.
    key: randomness of new adapters.
    Raises: ModelError if the model has no such parameters, or they would learn over random frozen weights.
    """
    model = loaded.model
    if isinstance(tuning, Full):
        return model
    if len(loaded.new_parameters) == sum(1 for _ in model.parameters()):
        raise ModelError(
            f"cannot train a part of the {loaded.source} model: it starts from scratch, so the frozen rest would stay "
            "random. Use model.tuning.kind: full, or start from a checkpoint"
        )
    head = _head_parameters(loaded, is_classifier=peft_task_type == "SEQ_CLS")
    if isinstance(tuning, LoRA):
        return _add_adapters(loaded, tuning, head, peft_task_type, key)
    if not head:
        raise ModelError(
            f"cannot train the head of '{loaded.source}' alone: this task adds none to {type(model).__name__}. "
            "Use model.tuning.kind: lora or full"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head)
    return model


def enable_gradient_checkpointing(model: nn.Module) -> None:
    """Make the model recompute its activations in the backward pass: less memory, about a third more time.

    Raises: ModelError if the architecture cannot.
    """
    transformer: Any = model
    doing = f"set local.gradient_checkpointing: true with a {transformer.config.model_type} model"
    with explained(doing), quiet_transformers():
        transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if hasattr(model, "get_base_model"):  # PEFT: frozen embeddings give no gradient for a checkpoint to start from
            transformer.enable_input_require_grads()


def _head_parameters(loaded: LoadedModel, is_classifier: bool) -> frozenset[str]:
    """Return the names of the head's parameters: all that are new, and of a classifier all above its encoder.

    BERT's and ALBERT's pooler is a layer of the head, though its name stands below the base model's: it reads
    the encoder's output for the classifier, and in many checkpoints it was never trained for that. Frozen, it
    cost MiniLM a fifth of its accuracy on the clinics example.
    """
    model: Any = loaded.model
    prefix = f"{model.base_model_prefix}."
    names = [name for name, _ in model.named_parameters()]
    above = {n for n in names if not n.startswith(prefix) or ".pooler" in n} if is_classifier else set()
    return frozenset(above | set(loaded.new_parameters))


def _add_adapters(
    loaded: LoadedModel, lora: LoRA, head: frozenset[str], peft_task_type: str | None, key: SeedKey
) -> nn.Module:
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    model: Any = loaded.model
    heads = _whole_modules(model, head)
    targets = _find_targets(model, lora.target_modules, heads)
    config = LoraConfig(
        task_type=peft_task_type,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        modules_to_save=[name for name in heads if not _peft_adds(name, peft_task_type)] or None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for _, module in _linear_modules(model)),
    )
    with explained(f"add LoRA to '{loaded.source}'"), quiet_transformers(), torch_seeded(key):
        # A model that mixes Conv1D and Linear has no one right value; PEFT sets each layer's and says so.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to", UserWarning)
        adapted = get_peft_model(model, config)
    saved = adapted.peft_config["default"]
    saved.base_model_name_or_path = loaded.base_reference
    saved.revision = loaded.base_revision
    result: nn.Module = adapted
    return result


def _find_targets(model: Any, chosen: str | tuple[str, ...], heads: Sequence[str]) -> list[str]:
    """Return names of linear layers for PEFT; layers of the head are left out, as they are trained whole.

    Raises: ModelError if a name is not the end of any linear layer's.
    """
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN_TO_PEFT

    every = [name for name, _ in _linear_modules(model)]
    below = [name for name in every if not any(f"{name}.".startswith(f"{head}.") for head in heads)]
    if chosen in ("all-linear", ("all-linear",)):
        return below
    if chosen == "auto":
        known = KNOWN_TO_PEFT.get(model.config.model_type, ())
        candidates = (*([known] if isinstance(known, list) else []), *_QUERY_AND_VALUE)
        chosen = next((tuple(names) for names in candidates if all(_ending(name, below) for name in names)), ())
        return _unambiguous(chosen, below, every) if chosen else below
    for name in chosen:
        if not _ending(name, below):
            endings = sorted({full.rsplit(".", 1)[-1] for full in below})
            raise ModelError(
                f"model.tuning.target_modules: no linear layer below the head is called '{name}'"
                f"{suggest(name, endings)} {type(model).__name__} has: {', '.join(endings)}. Or use auto, or all-linear"
            )
    return _unambiguous(chosen, below, every)


def _ending(name: str, modules: Sequence[str]) -> list[str]:
    """Return the modules that PEFT takes the name for."""
    return [module for module in modules if f".{module}".endswith(f".{name}")]


def _unambiguous(names: Sequence[str], below: Sequence[str], every: Sequence[str]) -> list[str]:
    """Return the names, or if one also fits a layer of the head, the full names of the layers below it."""
    wanted = [module for name in names for module in _ending(name, below)]
    return list(names) if len(wanted) == sum(len(_ending(name, every)) for name in names) else wanted


def _linear_modules(model: Any) -> list[tuple[str, nn.Module]]:
    """Return the linear layers by name, but for the one that gives the logits of a language model."""
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    return [(name, module) for name, module in linear if module is not output]


def _whole_modules(model: nn.Module, parameters: frozenset[str]) -> list[str]:
    """Return the largest modules that hold nothing but these parameters.

    A parameter that lies beside others, such as the bias of BERT's masked-language head, whose
    neighbour is tied to the embeddings, is in none of them: with LoRA it keeps its initial value.
    """
    wanted = {id(parameter) for name, parameter in model.named_parameters() if name in parameters}
    found: list[str] = []
    for name, module in model.named_modules():
        own = [id(parameter) for parameter in module.parameters()]
        if own and wanted.issuperset(own) and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return found


def _peft_adds(module: str, peft_task_type: str | None) -> bool:
    """Return whether PEFT trains the module by itself, because of the task."""
    return peft_task_type == "SEQ_CLS" and module.endswith(("classifier", "score"))
