"""Defaults that depend on other values: the one place where they are chosen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.sections import RunConfig
from foedus.config.secure_problems import hides_cohorts

FIRST_STEPS = 10  # of a participant whose speed is not known yet; enough to measure it


def resolve(config: RunConfig) -> RunConfig:
    """Return the configuration with every value that was left out filled in; what was given stays."""
    return config.model_copy(
        update={
            "participants": _participants(config.participants),
            "strategy": _strategy(config),
            "local": _local(config),
            "rounds": _rounds(config),
            "evaluation": _evaluation(config),
            "output": _output(config),
        }
    )


def _filled(section: Any, **defaults: object) -> Any:
    """Return the section with these defaults where nothing was given."""
    return section.model_copy(update={k: v for k, v in defaults.items() if k not in section.model_fields_set})


def _participants(participants: sections.Participants) -> sections.Participants:
    """Nothing is held out of the training file for a split that has files of its own."""
    match participants:
        case sections.Files() | sections.Partition() if participants.test is not None:
            return participants.model_copy(update={"split": _filled(participants.split, test=0.0)})
    return participants


def _strategy(config: RunConfig) -> sections.Strategy:
    """A language model's loss is a mean over tokens, so participants count by these.

    In a given time a slow participant goes a short way, however much it holds; so what it trained on counts then.
    FedNova takes the unequal steps out of the updates itself, and wants to know what each one holds. Where privacy
    hides how much somebody has, it weighs nothing.
    """
    match config.strategy:
        case sections.Scaffold() | sections.FedDyn():
            return config.strategy
    timed = config.local.seconds is not None and not isinstance(config.strategy, sections.FedNova)
    weighting = "tokens_seen" if timed else "tokens"
    if isinstance(config.task, sections.TextClassification):
        weighting = "examples"
    if not isinstance(config.privacy, sections.NoPrivacy):
        weighting = "uniform"
    strategy: sections.Strategy = _filled(config.strategy, weighting=weighting)
    return _diloco(strategy, config) if isinstance(strategy, sections.DiLoCo) else strategy


def _diloco(strategy: sections.DiLoCo, config: RunConfig) -> sections.DiLoCo:
    """Momentum suits the number of rounds; under SparseLoCo's compression, error feedback takes its place."""
    sparse = isinstance(config.compression, sections.SparseLoCo)
    filled: sections.DiLoCo = _filled(strategy, server_learning_rate=1.0) if sparse else strategy
    if filled.momentum is not None:
        return filled
    rounds = config.rounds.count // (filled.streaming.fragments if filled.streaming else 1)  # of one fragment
    momentum = 0.0 if sparse else usual_outer_momentum(max(1, rounds), filled.server_learning_rate)
    return filled.model_copy(update={"momentum": momentum})


def usual_outer_momentum(rounds: int, server_learning_rate: float) -> float:
    """Return DiLoCo's momentum for a run of so many rounds.

    Momentum needs rounds to gather speed and some to lose it: measured on a small language model, 0.9
    loses against 0.5 and less in 24 rounds, and wins in 72. The least is where a steady step,
    server_learning_rate / (1 - momentum) times the mean update, is FedAvg's.

    >>> [usual_outer_momentum(rounds, 0.7) for rounds in (10, 24, 72, 500)]
    [0.3, 0.5, 0.833, 0.9]
    """
    least = max(0.0, 1 - server_learning_rate)
    return round(min(max(1 - 12 / rounds, least), max(0.9, least)), 3)


def _local(config: RunConfig) -> sections.Local:
    keep = isinstance(config.strategy, sections.DiLoCo) and config.strategy.inner_state == "keep"
    given = config.local
    timed = given.seconds is not None
    local: sections.Local = _filled(
        given,
        keep_optimizer=keep,
        epochs=None if given.steps or timed else 1,
        learning_rate=usual_learning_rate(config.local.optimizer, config.model),
    )
    if isinstance(config.privacy, sections.RecordPrivacy):  # it clips by itself, and draws batches by coins
        local = _filled(local, gradient_clip=None, group_by_length=False)
    return local.model_copy(update={"steps": FIRST_STEPS}) if timed and given.steps is None else local


def usual_learning_rate(optimizer: sections.Optimizer, model: sections.Model) -> float:
    """Return a rate that usually works: small where all weights of a checkpoint are trained."""
    if isinstance(optimizer, sections.SGD):
        return 0.05
    whole_checkpoint = isinstance(model, sections.Checkpoint) and isinstance(model.tuning, sections.Full)
    return 5e-5 if whole_checkpoint else 5e-4


def _rounds(config: RunConfig) -> sections.Rounds:
    """Whether anybody came is a secret where participants are hidden, and a round must not depend on it."""
    hidden = hides_cohorts(config.privacy)
    rounds: sections.Rounds = _filled(config.rounds, min_reports=0) if hidden else config.rounds
    return rounds


def _evaluation(config: RunConfig) -> sections.Evaluation:
    """A site's own figures are not covered by the noise in the model."""
    private = not isinstance(config.privacy, sections.NoPrivacy)
    evaluation: sections.Evaluation = _filled(config.evaluation, per_site=False) if private else config.evaluation
    return evaluation


def _output(config: RunConfig) -> sections.Output:
    """Where nothing is said, runs are written where the command is started, not beside the YAML file."""
    output: sections.Output = _filled(config.output, folder=relative(Path.cwd() / "runs", config.root))
    return output


def relative(path: Path, folder: Path) -> str:
    """Return how to get from a folder to a path; the whole path where there is no way (other drives)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:
        return str(path.resolve())
