"""Configurations of models from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foedus.core.errors import ModelError
from foedus.models.foreign_calls import explained, quiet_transformers
from foedus.models.sources import Architecture, suggest


def configure(source: Architecture, tokenizer: Any, labels: Sequence[str]) -> Any:
    """Return the architecture's configuration; what the tokenizer knows is taken from the tokenizer.

    Raises: ModelError if transformers does not know the architecture, or it has no such field.
    """
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = source.architecture
    if kind not in CONFIG_MAPPING_NAMES:
        raise ModelError(
            f"unknown architecture '{kind}'{suggest(kind, CONFIG_MAPPING_NAMES)} transformers knows "
            f"{len(CONFIG_MAPPING_NAMES)}, such as gpt2, llama, bert, roberta, distilbert, albert, t5 and bart"
        )
    with explained(f"configure a {kind} model"), quiet_transformers():
        default = AutoConfig.for_model(kind)
        known = {name for name in default.to_dict() if not name.startswith("_")} | set(default.attribute_map)
        for name in source.overrides:
            if name not in known:
                raise ModelError(
                    f"cannot configure a {kind} model: it has no field '{name}'{suggest(name, known)} "
                    f"It has: {', '.join(sorted(known))}"
                )
        fields = {**_tokens(tokenizer, default), **label_options(labels), **source.overrides}
        return AutoConfig.for_model(kind, **fields)


def set_dropout(config: Any, share: float) -> None:
    """Set every dropout of a model's configuration, whatever its family calls them; layer drop stays as it is.

    Raises: ModelError if the family has none.
    """
    names = [
        name
        for name, value in config.to_dict().items()
        if ("dropout" in name or "pdrop" in name) and isinstance(value, int | float)
    ]
    if not names:
        raise ModelError(f"model.dropout: a {config.model_type} model has no dropout; leave it out")
    for name in names:
        setattr(config, name, share)


def label_options(labels: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a classifier's configuration that name its labels."""
    if not labels:
        return {}
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }


def _tokens(tokenizer: Any, default: Any) -> dict[str, int]:
    """Return the size of the vocabulary and the ids of its special tokens."""
    end = _first_known(tokenizer.eos_token_id, tokenizer.sep_token_id)
    fields = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": _first_known(tokenizer.bos_token_id, tokenizer.cls_token_id, end),
        "eos_token_id": end,
    }
    if default.is_encoder_decoder:
        # T5 starts a decoder's text with the padding token and states no number; BART with the end-of-text token.
        states_start = getattr(default, "decoder_start_token_id", None) is not None
        fields["decoder_start_token_id"] = end if states_start else tokenizer.pad_token_id
    if hasattr(default, "forced_eos_token_id"):
        fields["forced_eos_token_id"] = end
    return {name: number for name, number in fields.items() if number is not None}


def _first_known(*numbers: int | None) -> int | None:
    return next((number for number in numbers if number is not None), None)
