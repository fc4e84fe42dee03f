"""Runs between organisations that are private and signed: each pays at home, and everybody signs what it came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import foedus
from deployed.private import PrivateRun
from end_to_end.small_runs import SITES
from foedus.api.coordinate import Federated, coordinate
from foedus.config.participant import ParticipantRun
from foedus.engines.codec.messages import Answer, Question
from foedus.federation.events import Event
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import pin, save_pins
from foedus.privacy.signing.statements import COORDINATOR


class SignedPrivateRun(PrivateRun):
    """A run of three organisations with keys and budgets."""

    def __init__(
        self, folder: Path, config: dict[str, Any], own: Mapping[str, Mapping[str, Any]], **allow: Any
    ) -> None:
        super().__init__(folder, {**config, "signatures": "ed25519"}, own, **allow)
        self.home, self.key = folder, Identity.create()
        self.pins = pin(self.pins, COORDINATOR, self.key.public)
        for organisation in self.made.values():
            organisation.home = replace(organisation.home, pins=self.pins)

    def play(self, observe: Callable[[Event], None] = lambda event: None, patience_s: float = 20.0) -> Any:
        federated = Federated(
            self.way,
            list(SITES),
            self.pins,
            lambda name, what: self.told.append((name, what)),
            identity=lambda: self.key,
            patience_s=patience_s,
        )
        return coordinate(self.folder, federated, observe=observe)

    def kept(self, suffix: str, name: str = "*") -> list[Path]:
        """Return files that organisations keep of runs."""
        return sorted(self.home.glob(f"homes/*/receipts/{name}/*.{suffix}"))

    def verified(self, **given: Any) -> Any:
        save_pins(self.home / "pins.json", self.pins)
        return foedus.verify(self.folder.path, keys=self.home, receipts=self.kept("receipts.jsonl"), **given)

    def playing(self, name: str) -> ParticipantRun:
        """Return an organisation's side of the run that it has played."""
        [found] = self.made[name].runs.values()
        return found

    def meddle(self, name: str, meddler: Meddler) -> None:
        """Put somebody between the coordinator and an organisation that plays."""
        runs = self.made[name].runs
        for run, playing in runs.items():
            meddler.run = playing
            runs[run] = cast("ParticipantRun", meddler)


class Meddler:
    """Sits between the coordinator and an organisation, changes what passes, and keeps all answers."""

    def __init__(
        self,
        ask: Callable[[Question], Question] = lambda question: question,
        tell: Callable[[Question, Answer], Answer] = lambda question, answer: answer,
    ) -> None:
        self._ask, self._tell = ask, tell
        self.run: ParticipantRun | None = None
        self.asked: list[Question] = []
        self.answers: list[Answer] = []

    def answer(self, question: Question) -> Answer:
        assert self.run is not None
        self.asked.append(question)
        self.answers.append(self._tell(question, self.run.answer(self._ask(question))))
        return self.answers[-1]
