"""Models and tokenizers, ready to be tuned: loaded or built, checked, with labels and a padding token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from foedus.core.errors import ModelError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.models.architectures import configure, label_options, set_dropout
from foedus.models.foreign_calls import explained, quiet_transformers
from foedus.models.gguf import load_gguf, require_gguf
from foedus.models.sources import Architecture, Checkpoint, Location, ModelSource, locate, require_weights

Tokenizer = Any  # transformers' PreTrainedTokenizerBase; transformers states no types that mypy could check


@dataclass(frozen=True)
class LoadedModel:
    """A model in float32 on the CPU, with what one needs to know of it.

    model: of the class that the task asked for.
    source: the checkpoint's path as it was given, or the architecture's name.
    base_reference: what from_pretrained takes to load the same base weights again, at base_revision if
        that is given; None if nothing does, as for a model from scratch or from a GGUF file.
    licence: of the base weights, as their card says, in the hub's spelling.
    new_parameters: names of parameters that the checkpoint does not hold and that start at random
        values: the task's new head, or everything of a model from scratch.
    notes: what a user should know, one sentence each.
    """

    model: nn.Module
    tokenizer: Tokenizer
    source: str
    base_reference: str | None
    licence: str | None
    new_parameters: tuple[str, ...]
    notes: tuple[str, ...] = ()
    base_revision: str | None = None


def load_tokenizer(source: ModelSource) -> Tokenizer:
    """Return the source's tokenizer; one without a padding token pads with its end-of-text token.

    Padding is always masked out, so the token that stands there has no influence.
    Raises: ModelError if there is none, or it cannot pad. MissingExtra if it needs a library.
    """
    from transformers import AutoTokenizer

    path = source.tokenizer if isinstance(source, Architecture) else source.path
    location = locate(path, source.revision if isinstance(source, Checkpoint) else None)
    with explained(_doing("load the tokenizer of", path, location)), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(location.reference, **_file_options(location))
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes of a folder without one
        raise ModelError(f"cannot load the tokenizer of '{path}': there are no files of one, such as tokenizer.json")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ModelError(
                f"cannot use the tokenizer of '{path}': it has neither a padding nor an end-of-text token. "
                "Set pad_token in its tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    source: ModelSource, tokenizer: Tokenizer, auto_class: str, key: SeedKey, labels: Sequence[str] = ()
) -> LoadedModel:
    """Return the source's model with the head of a transformers auto class.

    auto_class: such as "AutoModelForSequenceClassification".
    key: randomness of weights that are new.
    labels: the classes of a classifier, saved in the model's configuration.
    Raises: ModelError if the source cannot be loaded, does not hold the architecture's weights, has no
        such head, or does not fit the tokenizer. MissingExtra if a package is not installed.
    """
    if isinstance(source, Architecture):
        loaded = _build(source, tokenizer, auto_class, key, labels)
    else:
        loaded = _load_checkpoint(source, tokenizer, auto_class, key, labels)
    _require_fit(loaded)
    config: Any = loaded.model.config
    config.pad_token_id = tokenizer.pad_token_id
    return loaded


def token_limit(model: nn.Module) -> int | None:
    """Return the longest input the model's position table holds, or None if it has no such limit.

    RoBERTa and its kin begin their positions after the padding token's id.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - unused
    config: Any = model.config
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


def require_length(model: nn.Module, tokens: int) -> None:
    """Check that the model can read so many tokens at once.

    Rotary positions have no table that could end, so models with these are not held to what they were trained for.
    Raises: ModelError if not.
    """
    config: Any = model.config
    limit = token_limit(model)
    if limit is not None and tokens > limit and getattr(config, "rope_parameters", None) is None:
        raise ModelError(
            f"a {config.model_type} model of this size reads at most {limit} tokens, but task.max_length or "
            f"task.max_target_length is {tokens}. Use at most {limit}"
        )


def _load_checkpoint(
    source: Checkpoint, tokenizer: Tokenizer, auto_class: str, key: SeedKey, labels: Sequence[str]
) -> LoadedModel:
    location = locate(source.path, source.revision)
    require_weights(location)
    doing = _doing("load the model", source.path, location)
    config = _read_config(location, doing, labels)
    if source.dropout is not None:
        set_dropout(config, source.dropout)
    auto = _find_auto(auto_class, config)
    with explained(doing), torch_seeded(key):
        if location.gguf_file is not None:
            model, info = load_gguf(location.reference, location.gguf_file, auto_class, config)
        else:
            with quiet_transformers():
                model, info = auto.from_pretrained(
                    location.reference,
                    revision=location.revision,
                    config=config,
                    dtype=torch.float32,
                    output_loading_info=True,
                    # A head of another size is one for other labels and is replaced: see _new_parameters.
                    ignore_mismatched_sizes=True,
                )
    new, notes = _new_parameters(model, info, source.path)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        source=source.path,
        base_reference=None if location.gguf_file is not None else location.reference,
        licence=location.licence,
        new_parameters=new,
        notes=notes,
        base_revision=location.revision,
    )


def _build(
    source: Architecture, tokenizer: Tokenizer, auto_class: str, key: SeedKey, labels: Sequence[str]
) -> LoadedModel:
    config = configure(source, tokenizer, labels)
    auto = _find_auto(auto_class, config)
    with explained(f"build a {source.architecture} model"), quiet_transformers(), torch_seeded(key):
        model = auto.from_config(config)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        source=source.architecture,
        base_reference=None,
        licence=None,
        new_parameters=tuple(name for name, _ in model.named_parameters()),
    )


def _read_config(location: Location, doing: str, labels: Sequence[str]) -> Any:
    from transformers import AutoConfig

    if location.gguf_file is not None:
        require_gguf(location.gguf_file)
    with explained(doing), quiet_transformers():
        return AutoConfig.from_pretrained(location.reference, **_file_options(location), **label_options(labels))


def _find_auto(auto_class: str, config: Any) -> Any:
    """Return transformers' auto class.

    Raises: ModelError if the architecture has no such head, or reads both directions and shall predict what comes next.
    """
    import transformers

    auto = getattr(transformers, auto_class)
    head = auto_class.removeprefix("AutoModelFor")
    if type(config) not in auto._model_mapping:
        raise ModelError(
            f"{config.model_type} models cannot be used for this task: transformers has no {head} head for them. "
            "Encoders such as bert suit text_classification and masked_lm; gpt2 and llama suit text_classification "
            "and causal_lm; t5 and bart suit sequence_to_sequence"
        )
    reads_both_directions = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING and not config.is_encoder_decoder
    if head == "CausalLM" and reads_both_directions and getattr(config, "is_decoder", True) is False:
        raise ModelError(
            f"{config.model_type} models read a text in both directions, so they would learn to copy the next token. "
            "Use task.kind: masked_lm, or a causal model such as gpt2 or llama"
        )
    return auto


def _doing(verb: str, path: str, location: Location) -> str:
    where = "" if location.is_local else " from the Hugging Face hub (there is no local folder of this name)"
    return f"{verb} '{path}'{where}"


def _file_options(location: Location) -> dict[str, Any]:
    options = {"gguf_file": location.gguf_file, "revision": location.revision}
    return {name: value for name, value in options.items() if value is not None}


def _new_parameters(model: Any, info: Mapping[str, Any], path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of randomly initialised parameters, and notes on what else did not match.

    Raises: ModelError if weights below the head are missing: most likely the files are of another model.
    """
    present = {name for name, _ in model.named_parameters()}
    mismatched = {name for name, *_ in info["mismatched_keys"]}
    new = sorted((set(info["missing_keys"]) | mismatched) & present)
    prefix = f"{model.base_model_prefix}."
    has_base = any(name.startswith(prefix) for name in present)
    in_base = [name for name in new if (name.startswith(prefix) or not has_base) and "pooler" not in name]
    if in_base:
        raise ModelError(
            f"cannot load the model '{path}': its weights do not hold what its config.json describes. Missing or of "
            f"another shape: {_few(in_base)}. Are the two files of one model?"
        )
    notes = []
    if unused := sorted(info["unexpected_keys"]):
        notes.append(f"weights of '{path}' that {type(model).__name__} does not use were left out: {_few(unused)}")
    if poolers := [name for name in new if "pooler" in name]:
        notes.append(f"'{path}' holds no pooler, so it starts at random values: {_few(poolers)}")
    return tuple(new), tuple(notes)


def _few(names: Sequence[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _require_fit(loaded: LoadedModel) -> None:
    model: Any = loaded.model
    rows, tokens = model.get_input_embeddings().weight.shape[0], len(loaded.tokenizer)
    if tokens > rows:
        raise ModelError(
            f"the tokenizer has {tokens} tokens, but the model '{loaded.source}' has embeddings for {rows}. "
            "Use the model's own tokenizer, or a vocab_size that is at least as large"
        )
