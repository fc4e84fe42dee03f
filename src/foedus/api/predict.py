"""Using the model that a run left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.loading import load_config
from foedus.core.errors import RunFolderError
from foedus.federation.run_folder import RunFolder
from foedus.models.export import load_for_prediction
from foedus.tasks.prediction import Text
from foedus.tasks.prediction import predict as predict_texts


def predict(
    folder: Path | str, texts: Sequence[Text], *, top_k: int = 1, max_new_tokens: int = 40
) -> Sequence[Mapping[str, Any]]:
    """Return, for each text, what a run's model makes of it: classes with probabilities, or text.

    folder: a run folder. texts: a pair for each, where the task classifies pairs.
    Raises: RunFolderError if the run has no model yet; ModelError if it cannot be loaded.
    """
    run = RunFolder(Path(folder))
    if not run.config.is_file():
        raise RunFolderError(f"{run.path} holds no run; name the folder that foedus run wrote, such as runs/clinics")
    if not run.model.is_dir() or not run.summary.is_file():
        raise RunFolderError(f"the run in {run.path} is not finished; go on: foedus run --resume {run.path}")
    config = load_config(run.config)
    model, tokenizer = load_for_prediction(run.model)
    return predict_texts(
        config.task.kind,
        model,
        tokenizer,
        texts,
        top_k=top_k,
        max_new_tokens=max_new_tokens,
        max_length=config.task.max_length,
        prefix=config.task.prefix if isinstance(config.task, sections.SequenceToSequence) else "",
    )
