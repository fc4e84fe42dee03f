"""Letting the language model that a run left behind write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foedus.api.predict import finished_run
from foedus.config import sections
from foedus.config.loading import load_config
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.models.export import load_for_prediction
from foedus.tasks.generation import write_texts


def generate(
    folder: Path | str,
    prompt: str = "",
    *,
    samples: int = 1,
    max_new_tokens: int = 100,
    temperature: float = 0.8,
    seed: int = 0,
) -> Sequence[str]:
    """Return how a prompt goes on, in the words of a run's causal language model; the same seed gives the same texts.

    folder: a run folder. prompt: empty for texts from nothing. temperature: 0 always takes the likeliest token.
    Raises: RunFolderError if the run has no model yet; ConfigError if its model continues no texts; ModelError if it
        cannot be loaded.
    """
    run = finished_run(folder)
    task = load_config(run.config).task
    if not isinstance(task, sections.CausalLM):
        raise ConfigError(
            f"{run.path} holds a model for {task.kind}, which continues no text; use foedus predict, or a run with "
            "task.kind: causal_lm"
        )
    model, tokenizer = load_for_prediction(run.model)
    return write_texts(
        model,
        tokenizer,
        prompt,
        samples=samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        key=SeedKey.from_seed(seed).child("generate"),
    )
