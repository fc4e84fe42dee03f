"""What a participant keeps of a comparison: its own figures, which nobody else is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.federation.alone import ALONE, FEDERATED, START
from foedus.federation.messages import ParticipantId, Sums
from foedus.training.task import Task

COMPARISONS = "comparisons"  # in a participant's folder: one folder for each run
COMPARISON = "comparison.json"


def comparison_table(
    config: sections.RunConfig,
    task: Task,
    arms: Mapping[str, Mapping[str, Any]],
    *,
    data_note: str | None = None,
    of: ParticipantId | None = None,
) -> Mapping[str, Any]:
    """Return what comparison.json holds of the models of one run, in the order in which they are shown.

    arms: by model, what is known of it. of: whose rows alone it is of.
    """
    return {
        "name": config.name,
        "headline": task.headline,
        "higher_is_better": task.higher_is_better,
        "data_note": data_note,
        "seeds": [config.seed],
        "of": of,
        "arms": [
            {"name": model, "runs": [{"seed": config.seed, **arms[model]}]}
            for model in (START, ALONE, FEDERATED)
            if model in arms
        ],
    }


def own_comparison(
    place: Path, name: ParticipantId, config: sections.RunConfig, task: Task, figures: Mapping[str, Sums]
) -> Path:
    """Write a participant's own comparison into a folder, which its owner alone can read, and return that.

    figures: its statistics, by model.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    table = comparison_table(config, task, {model: {"all": task.score(of)} for model, of in figures.items()}, of=name)
    (place / COMPARISON).write_text(json.dumps(table, indent=2))
    return place
