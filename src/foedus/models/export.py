"""Trained models as ordinary Hugging Face folders, and back."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from foedus.core.errors import ModelError
from foedus.models.foreign_calls import explained, quiet_transformers

_ADAPTER_CONFIG = "adapter_config.json"
_BASE = "base"  # the base model inside the folder, for adapters with a head of their own

_AUTO_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
}


def save_model(model: nn.Module, tokenizer: Any, folder: Path, *, merge: bool = False) -> None:
    """Write a folder that transformers' auto classes load, whole or not at all; it replaces an older one.

    Without adapters it holds the model. With adapters there are three cases:
    - merge, or nothing can load the base weights again: the adapters are added to the weights.
    - The adapter has a trained head: the folder also holds the base model's weights, and the labels in
      config.json. The base model's own configuration knows no such labels, so an adapter that refers to it
      could not be loaded without being told them. `base/` shows the base model alone, for PEFT.
    - Otherwise: the adapter and a reference to its base, as PEFT saves it.
    """
    draft, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with explained(f"save the model to {folder}"), quiet_transformers():
        if not hasattr(model, "get_base_model"):  # PEFT has it
            _save(model, draft)
        else:
            _save_adapted(model, draft, folder, merge=merge)
        _save(tokenizer, draft)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_for_prediction(folder: Path) -> tuple[nn.Module, Any]:
    """Return the model that save_model wrote, in evaluation mode, and its tokenizer.

    Raises: ModelError if the folder, or the base model that it refers to, cannot be loaded.
    """
    import transformers

    doing = f"load the model in {folder}"
    with explained(doing), quiet_transformers():
        model = getattr(transformers, _class_to_load(folder)).from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.eval()
    return model, tokenizer


def _save_adapted(model: Any, draft: Path, folder: Path, *, merge: bool) -> None:
    adapter = model.peft_config["default"]
    if merge or adapter.base_model_name_or_path is None:
        _save(copy.deepcopy(model).merge_and_unload(), draft)
        return
    if adapter.modules_to_save:
        _save(copy.deepcopy(model).unload(), draft)
        _link_base(draft)
    # Embeddings are never trained by us; "auto" would ask the hub for the base model's configuration.
    model.save_pretrained(draft, save_embedding_layers=False)
    (draft / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    path = draft / _ADAPTER_CONFIG
    saved = json.loads(path.read_text())
    if adapter.modules_to_save:
        saved |= {"base_model_name_or_path": str(folder.resolve() / _BASE), "revision": None}
    # PEFT keeps names in sets, whose order differs from process to process; equal runs write equal bytes
    saved = {key: sorted(value) if _is_names(value) else value for key, value in saved.items()}
    path.write_text(json.dumps(saved, indent=2, sort_keys=True))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _link_base(draft: Path) -> None:
    """Show the folder's own model in a folder below, without the adapter that lies beside it."""
    base = draft / _BASE
    base.mkdir()
    for file in [draft / "config.json", *draft.glob("model*.safetensors*")]:
        link = base / file.name
        try:
            link.symlink_to(os.path.join("..", file.name))  # noqa: PTH118 - a relative path, kept as it is
        except OSError:  # Windows lets only some users make symbolic links
            shutil.copy2(file, link)


def _save(part: Any, folder: Path) -> None:
    part.save_pretrained(folder)


def _class_to_load(folder: Path) -> str:
    """Return the name of the transformers class of the folder's model."""
    config, adapter = folder / "config.json", folder / _ADAPTER_CONFIG
    if config.is_file():
        return str(json.loads(config.read_text())["architectures"][0])
    if not adapter.is_file():
        raise ModelError(f"cannot load the model in {folder}: it holds neither config.json nor {_ADAPTER_CONFIG}")
    facts = json.loads(adapter.read_text())
    if (mapping := facts.get("auto_mapping")) is not None:
        return str(mapping["base_model_class"])
    return _AUTO_CLASSES[facts["task_type"]]
