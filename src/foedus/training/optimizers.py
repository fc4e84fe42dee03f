"""PyTorch's optimizers, as local training uses them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from foedus.training.settings import LocalSettings


def make_optimizers(
    parameters: Mapping[str, nn.Parameter], settings: LocalSettings, hidden: Collection[str] = ()
) -> Sequence[torch.optim.Optimizer]:
    """Return optimizers that have every parameter once.

    Weight decay leaves out biases and the weights of norms, as is usual.
    hidden: names of the matrices that Muon is for; AdamW has the rest then.
    """
    if settings.optimizer == "muon":
        matrices = [parameter for name, parameter in parameters.items() if name in hidden]
        rest = {name: parameter for name, parameter in parameters.items() if name not in hidden}
        return [*([_muon(matrices, settings)] if matrices else []), *([_adamw(rest, settings)] if rest else [])]
    return [_adamw(parameters, settings) if settings.optimizer == "adamw" else _sgd(parameters, settings)]


def state_fields(optimizer: torch.optim.Optimizer) -> Sequence[str]:
    """Return what the optimizer remembers of a parameter: "step" is one number, the rest has its shape."""
    match optimizer:
        case torch.optim.AdamW():
            return ("step", "exp_avg", "exp_avg_sq")
        case torch.optim.Muon():
            return ("momentum_buffer",)
    return ("momentum_buffer",) if optimizer.defaults["momentum"] > 0 else ()


def _adamw(parameters: Mapping[str, nn.Parameter], settings: LocalSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        _groups(parameters, settings.weight_decay),
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        fused=True,
    )


def _sgd(parameters: Mapping[str, nn.Parameter], settings: LocalSettings) -> torch.optim.Optimizer:
    groups = _groups(parameters, settings.weight_decay)
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)


def _muon(matrices: Sequence[nn.Parameter], settings: LocalSettings) -> torch.optim.Optimizer:
    return torch.optim.Muon(
        matrices,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        adjust_lr_fn="match_rms_adamw",
    )


def _groups(parameters: Mapping[str, nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in parameters.values() if p.ndim > 1]
    vectors = [p for p in parameters.values() if p.ndim <= 1]
    groups: list[dict[str, object]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
