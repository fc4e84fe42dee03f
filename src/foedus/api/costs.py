"""What a run's rounds cost its participants, as these told the coordinator: asked when the rounds are over.

It is written down, so that a coordinator which is started again goes on there: no further round is played, for nobody
who told would train in it, and nobody may tell another bill than before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from foedus.core.errors import RunFolderError, SignatureError
from foedus.engines.remote import RemoteEngine
from foedus.federation.messages import ParticipantId
from foedus.federation.run_folder import RunFolder

PLACE = ".costs.json"  # in the run's folder


@dataclass(frozen=True)
class Over:
    """A run whose rounds are over.

    rounds: how many were played. stopped: why before the last one; None after all of them.
    told: what each participant said that they cost it. changed: who said something else later.
    """

    rounds: int
    stopped: str | None = None
    told: Mapping[ParticipantId, Mapping[str, Any]] = field(default_factory=dict)
    changed: Sequence[ParticipantId] = ()

    @staticmethod
    def read(folder: RunFolder) -> Over | None:
        """Return what was written down; None while rounds are played.

        Raises: RunFolderError if it cannot be read.
        """
        place = folder.path / PLACE
        if not place.exists():
            return None
        try:
            kept = json.loads(place.read_text(encoding="utf-8"))
            return Over(int(kept["rounds"]), kept["stopped"], dict(kept["told"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{place} cannot be read; it is missing or damaged") from error

    def ask(self, engine: RemoteEngine, folder: RunFolder, notice: Callable[[ParticipantId, str], None]) -> Over:
        """Ask everybody who is there, and return what is known of all, written down.

        notice: is told of who says something else than before.
        """
        self._write(folder)  # before anybody is asked: from then on nobody trains
        told, changed = dict(self.told), []
        for name, answer in engine.ask_costs().items():
            if told.setdefault(name, answer.facts) != answer.facts:
                changed.append(name)
                notice(name, "refused: it told another bill than before")
        after = replace(self, told=told, changed=changed)
        after._write(folder)
        return after

    def require_told(self, participants: Sequence[ParticipantId]) -> None:
        """Check that everybody told, and told one thing: it is to be signed by all.

        Raises: SignatureError that says who did not.
        """
        if self.changed:
            raise SignatureError(
                f"{', '.join(self.changed)} told another bill than before; nothing is attested that one of its own "
                "signers contradicts. What it told first stands in the summary"
            )
        if silent := [name for name in participants if name not in self.told]:
            raise SignatureError(
                f"{', '.join(silent)} did not tell what the run cost it, and what all sign holds everybody's bill; ask "
                "again when they are there"
            )

    def _write(self, folder: RunFolder) -> None:
        kept = {"rounds": self.rounds, "stopped": self.stopped, "told": self.told}
        folder.write(folder.path / PLACE, json.dumps(kept))
