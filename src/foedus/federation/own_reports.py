"""What a participant keeps of its own evaluations where only sums are shared: one file a run, readable by it alone."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from foedus.federation.alone import FEDERATED, by_model
from foedus.federation.messages import Evaluate, ParticipantId, Sums


@dataclass(frozen=True)
class OwnReports:
    """Where participants write their own figures; nobody else is sent them.

    folder: one folder a participant is made in it, readable by its owner alone. run: the file's name, without suffix.
    score: turns statistics into metrics.
    """

    folder: Path
    run: str
    score: Callable[[Sums], Mapping[str, float]]

    def add(self, participant: ParticipantId, request: Evaluate, sums: Sums) -> None:
        """Append a line of JSON for each model: the round, the split, and the metrics; nothing if it has no such rows.

        A line says which model it is of, unless it is the run's.
        """
        if not sums:
            return
        place = self.path(participant)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = []
        for model, figures in by_model(sums).items():
            metrics = {name: value if math.isfinite(value) else None for name, value in self.score(figures).items()}
            which = {} if model == FEDERATED else {"model": model}
            lines.append(json.dumps({"round": request.round, "split": request.split, **which, **metrics}) + "\n")
        descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a") as file:
            file.writelines(lines)

    def path(self, participant: ParticipantId) -> Path:
        """Return a participant's file."""
        return self.folder / quote(participant, safe=" ") / f"{self.run}.jsonl"
