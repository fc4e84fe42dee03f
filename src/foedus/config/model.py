"""From `model` to a loaded model whose trained part is chosen."""

from __future__ import annotations

from typing import assert_never

from foedus.config import sections
from foedus.models import sources


def build_source(config: sections.RunConfig) -> sources.ModelSource:
    """Return where the model comes from."""
    match config.model:
        case sections.Checkpoint() as checkpoint:
            return sources.Checkpoint(config.locate_model(checkpoint.path), checkpoint.revision)
        case sections.Architecture() as scratch:
            return sources.Architecture(scratch.type, config.locate_model(scratch.tokenizer), scratch.options)
        case _:
            assert_never(config.model)
