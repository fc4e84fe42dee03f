"""Checkpoints in the GGUF format, as plain float32 models that can be trained and saved."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from foedus.core.errors import MissingExtra
from foedus.models.foreign_calls import quiet_transformers


def load_gguf(folder: str, file: str, auto_class: str, config: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Return the de-quantised model and transformers' loading information.

    What transformers returns calls itself quantised and refuses to be saved; its weights move into a
    fresh model of the same class.
    """
    import transformers

    with quiet_transformers(hide_standard_error=True):
        quantised, info = getattr(transformers, auto_class).from_pretrained(
            folder, gguf_file=file, config=copy.deepcopy(config), dtype=torch.float32, output_loading_info=True
        )
        model = type(quantised)(config)
        model.load_state_dict(quantised.state_dict(), assign=True)
        model.tie_weights()
        if quantised.can_generate():
            model.generation_config = quantised.generation_config
    model.eval()
    return model, info


def require_gguf(file: str) -> None:
    """Check that GGUF files can be read.

    Raises: MissingExtra if the gguf library is not installed.
    """
    if find_spec("gguf") is None:
        raise MissingExtra(f"reading {file} needs the gguf library. Install it with: pip install 'foedus[gguf]'")
