"""Training alone: what a participant would learn from its own rows, in as many rounds, if it took no part in the run.

It is trained at home beside the run, and never leaves it. What leaves are statistics over its held-out rows, in the
last evaluation, as one answer with those of the model that the run trained and of the one that it started from. Being
one answer, the three have one sum over the same participants: two sums of one model over different participants would
differ by single ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from foedus.core.durable import sync
from foedus.core.errors import ParticipantError, RunFolderError
from foedus.core.trees import ParamTree
from foedus.federation.checkpoints import load_trees, save_trees
from foedus.federation.messages import Clock, Evaluate, Sums
from foedus.federation.protocols import LocalTask

START, ALONE, FEDERATED = "start", "alone", "federated"
BESIDE = (START, ALONE)  # the models that are measured beside the run's own
MOST_AT_ONCE = 4  # rounds that one request catches up on: whoever waits has a deadline for one
_ROUND = re.compile(r"round-(\d{5,})\.safetensors")


def _nothing(figures: Mapping[str, Sums]) -> None:
    """Do nothing with one's own figures."""


@dataclass(frozen=True)
class OwnArm:
    """What a participant trains alone.

    task: with the settings of training alone. start: the parameters that the run's first round starts from.
    folder: where its model lies between rounds, under their numbers; nothing else remembers it.
    compared: is given the statistics of all three models, by name, when they were measured.
    """

    task: LocalTask
    start: ParamTree
    folder: Path
    device: torch.device | None = None
    compared: Callable[[Mapping[str, Sums]], None] = _nothing

    def advance(self, clock: Clock) -> None:
        """Train until this round is over too, or several rounds at most. Rounds that are done are not done again.

        Raises: ParticipantError if there is nothing to train on; RunFolderError if the folder cannot be used.
        """
        for number in range(self.rounds, min(clock.round + 1, self.rounds + MOST_AT_ONCE)):
            kept = self._kept()
            result = self.task.train(
                kept.get("params", self.start), Clock(number, clock.rounds), None, kept.get("optimizer")
            )
            optimizer = {"optimizer": result.optimizer} if result.optimizer is not None else {}
            self._keep(number + 1, {"params": result.params, **optimizer})

    @property
    def rounds(self) -> int:
        """How many rounds are done."""
        return max(self._found(), default=0)

    @property
    def params(self) -> ParamTree:
        """The model as it is now."""
        return self._kept().get("params", self.start)

    def _kept(self) -> Mapping[str, ParamTree]:
        found = self._found()
        return load_trees(found[max(found)], self.device) if found else {}

    def _keep(self, rounds: int, trees: Mapping[str, ParamTree]) -> None:
        path = self.folder / f"round-{rounds:05d}.safetensors"
        draft = path.with_suffix(".part")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            save_trees(draft, trees)
            draft.replace(path)
            sync(self.folder)
        except OSError as error:
            raise RunFolderError(f"what it trained alone cannot be written: {error.strerror}") from error
        for number, old in self._found().items():
            if number < rounds:
                old.unlink()

    def _found(self) -> Mapping[int, Path]:
        found = [(_ROUND.fullmatch(path.name), path) for path in self.folder.glob("*")]
        return {int(match[1]): path for match, path in found if match is not None}


def evaluate_all(task: LocalTask, arm: OwnArm | None, request: Evaluate) -> Sums:
    """Return a participant's statistics of the run's model, of what it started from, and of its own, as one answer.

    request: its round is the run's last.
    Raises: ParticipantError if it does not train alone, or is not done with that.
    """
    if arm is None:
        raise ParticipantError("it was asked to compare with what it trained alone, and does not in this run")
    if (done := arm.rounds) < request.round:
        raise ParticipantError(
            f"it has trained alone for {done} of {request.round} rounds, and compares when it is done"
        )
    figures = {
        FEDERATED: task.evaluate(request.params, request.split),
        START: task.evaluate(arm.start, request.split),
        ALONE: task.evaluate(arm.params, request.split),
    }
    if figures[FEDERATED]:
        arm.compared(figures)
    return joined(figures)


def joined(figures: Mapping[str, Sums]) -> Sums:
    """Return the statistics of several models as one answer; those of the run's own model keep their names.

    >>> joined({"federated": {"n": 4}, "start": {"n": 4}, "alone": {"n": 4}})
    {'n': 4, 'start/n': 4, 'alone/n': 4}
    """
    beside = {f"{model}/{name}": value for model in BESIDE for name, value in figures[model].items()}
    return {**figures[FEDERATED], **beside}


def by_model(sums: Sums) -> Mapping[str, Sums]:
    """Return what `joined` joined; of the statistics of one model, these as the run's own.

    >>> by_model({"n": 4, "start/n": 3, "alone/n": 2})
    {'federated': {'n': 4}, 'start': {'n': 3}, 'alone': {'n': 2}}
    >>> by_model({"n": 4})
    {'federated': {'n': 4}}
    """
    found: dict[str, dict[str, torch.Tensor]] = {FEDERATED: {}}
    for key, value in sums.items():
        model, slash, name = key.partition("/")
        if slash and model in BESIDE:
            found.setdefault(model, {})[name] = value
        else:
            found[FEDERATED][key] = value
    return found
