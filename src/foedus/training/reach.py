"""How far local training can move any single parameter in a round, from the optimizer's settings alone.

Nothing of anybody's rows goes into it, so that it can be told to everybody, also where records are hidden.
"""

from __future__ import annotations

import math

from foedus.training.settings import LocalSettings

_ORTHOGONALISED = 1.3  # the largest singular value that Muon's Newton–Schulz iteration leaves
_MUON_SCALE = 0.2  # Liu et al. 2025, arXiv:2502.16982: times the root of a matrix' longer side


def reach(
    settings: LocalSettings, steps: int, longest_side: int, largest_weight: float, largest_gradient: float | None
) -> float | None:
    """Return a bound on |w - w_0| of each parameter after so many steps; None if the optimizer sets none.

    longest_side: of the matrices that Muon is for. largest_weight: of any parameter, for weight decay.
    largest_gradient: of any coordinate that SGD steps along; None if nothing bounds it.
    """
    rate, decay = settings.learning_rate, settings.weight_decay * largest_weight
    if settings.optimizer == "sgd":
        if largest_gradient is None:
            return None
        return rate * steps * (largest_gradient + decay) / (1 - settings.momentum)
    taken = range(1, steps + 1)
    adam = (
        steps * adam_ratio(*settings.betas, None)
        if settings.keep_optimizer
        else sum(adam_ratio(*settings.betas, step) for step in taken)
    )
    if math.isinf(adam):
        return None
    muon = steps * _MUON_SCALE * _ORTHOGONALISED * math.sqrt(longest_side) if settings.optimizer == "muon" else 0.0
    return rate * (max(adam, muon) + steps * decay)


def adam_ratio(beta1: float, beta2: float, step: int | None) -> float:
    """Return the largest |m| / √v that Adam's bias-corrected moments can have at a step, counted from 1.

    step: None for the largest of all steps. By Cauchy and Schwarz, Σ β1^i |g_i| is at most
    √(Σ (β1²/β2)^i) · √(Σ β2^i g_i²), whatever the gradients g.

    >>> [round(adam_ratio(0.9, 0.999, step), 2) for step in (1, 10, 100, None)]
    [1.0, 1.04, 2.24, 7.27]
    """
    ratio = beta1**2 / beta2
    if step is None:
        return (1 - beta1) / math.sqrt((1 - beta2) * (1 - ratio)) if ratio < 1 else math.inf
    terms = step if ratio == 1 else (1 - ratio**step) / (1 - ratio)
    corrected = math.sqrt(1 - beta2**step) / (1 - beta1**step)
    return (1 - beta1) / math.sqrt(1 - beta2) * math.sqrt(terms) * corrected
