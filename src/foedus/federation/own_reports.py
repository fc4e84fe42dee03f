"""What a participant keeps of its own evaluations where only sums are shared: one file a run, readable by it alone."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

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
        """Append one line of JSON: the round, the split, and the metrics; nothing if it has no such rows."""
        if not sums:
            return
        place = self.path(participant)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        metrics = {name: value if math.isfinite(value) else None for name, value in self.score(sums).items()}
        line = json.dumps({"round": request.round, "split": request.split, **metrics})
        descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a") as file:
            file.write(line + "\n")

    def path(self, participant: ParticipantId) -> Path:
        """Return a participant's file."""
        return self.folder / quote(participant, safe=" ") / f"{self.run}.jsonl"
