"""How a participant trains in a round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]
Weighting = Literal["examples", "tokens", "tokens_seen", "uniform"]


@dataclass(frozen=True)
class LocalSettings:
    """One participant's local training.

    epochs, steps: passes over the own rows, or optimizer steps, a round; exactly one is set.
    batch_size: examples in memory at once; `accumulation` batches make one optimizer step.
    gradient_clip: largest joint L2 norm of a step's gradient, or None.
    optimizer: muon steps along orthogonalised momentum in the model's hidden matrices (Liu et al. 2025,
        arXiv:2502.16982, whose scaling lets it share AdamW's learning rate), and is adamw in the rest.
    momentum: of sgd and muon. betas, epsilon: of adamw.
    weighting: by what a participant's update counts: examples or tokens that it holds, tokens that it trained on in
        the round, or nothing.
    keep_optimizer: whether a round's training returns the optimizer's state, for the strategy to keep or send.
    """

    learning_rate: float
    batch_size: int = 16
    epochs: int | None = 1
    steps: int | None = None
    accumulation: int = 1
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    momentum: float = 0.0
    schedule: Schedule = "constant"
    warmup: float = 0.0
    gradient_clip: float | None = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    keep_optimizer: bool = False
    group_by_length: bool = True
    weighting: Weighting = "examples"
    evaluation_batch_size: int = 64


def learning_rate_at(settings: LocalSettings, progress: float) -> float:
    """Return the learning rate when `progress` in [0, 1] of the whole run is over.

    It rises linearly over the first `warmup` of the run and then stays, or falls to 0. The clock is
    the run's, not the round's: restarting a schedule every round costs accuracy.

    >>> settings = LocalSettings(learning_rate=1.0, schedule="linear", warmup=0.5)
    >>> [learning_rate_at(settings, progress) for progress in (0.25, 0.5, 0.75)]
    [0.5, 1.0, 0.5]
    """
    if settings.warmup > 0 and progress <= settings.warmup:
        return settings.learning_rate * progress / settings.warmup
    rest = (progress - settings.warmup) / (1 - settings.warmup)
    match settings.schedule:
        case "constant":
            fraction = 1.0
        case "linear":
            fraction = 1 - rest
        case "cosine":
            fraction = (1 + math.cos(math.pi * rest)) / 2
    return settings.learning_rate * fraction
