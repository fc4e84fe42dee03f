"""The one copy of the model on a device, which all participants of this process train in turn."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.protocols import Correction
from foedus.training.settings import LocalSettings


class Workspace:
    """A model, the parameters of it that travel, and their optimizer.

    Parameters are overwritten in place, and the optimizer's state is zeroed in place, so that a new
    participant allocates nothing.
    parameters: by travelling name; they belong to the model.
    """

    def __init__(
        self, model: nn.Module, parameters: Mapping[str, nn.Parameter], settings: LocalSettings, device: torch.device
    ) -> None:
        self.model = model.to(device)
        self.parameters = dict(parameters)
        self.device = device
        self.optimizer = _optimizer(self.parameters, settings)
        self._loaded: ParamTree | None = None
        self._training: bool | None = None

    def load(self, params: ParamTree) -> None:
        """Make the model's travelling parameters equal to these."""
        if self._loaded is not params:
            trees.copy_in_place(self.parameters, params)
            self._loaded = params

    def begin(self, params: ParamTree, optimizer: ParamTree | None) -> None:
        """Make ready to train from these parameters, with nothing left of whoever trained before.

        optimizer: a state of `optimizer_state`, or None for that before the first step.
        """
        self.load(params)
        self._loaded = None  # they will not stay so
        self.load_optimizer(optimizer)
        self.optimizer.zero_grad()  # a participant that failed on its way to a step leaves a gradient
        self.mode(training=True)

    def live_params(self) -> ParamTree:
        """Return the travelling parameters where they lie; they change with the next training."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def mode(self, *, training: bool) -> None:
        """Switch dropout and the like on or off."""
        if self._training is not training:
            self.model.train(training)
            self._training = training

    def load_optimizer(self, state: ParamTree | None) -> None:
        """Set the optimizer's state to one of `optimizer_state`, or to that before the first step."""
        for slots in self.optimizer.state.values():
            for value in slots.values():
                if isinstance(value, Tensor):
                    value.zero_()
        for key, kept in (state or {}).items():
            name, _, field = key.rpartition("/")
            slots = self.optimizer.state[self.parameters[name]]
            if isinstance(slots.get(field), Tensor):
                slots[field].copy_(kept)
            else:
                slots[field] = kept.clone()

    def optimizer_state(self) -> ParamTree:
        """Return a copy of the optimizer's state, as "parameter/field" -> tensor."""
        return {
            f"{name}/{field}": value.detach().clone()
            for name, parameter in self.parameters.items()
            for field, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def gradients(self) -> ParamTree:
        """Return the gradients of the last backward passes, zeros where there are none."""
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
            for name, parameter in self.parameters.items()
        }

    def step(self, learning_rate: float, clip: float | None, correction: Correction | None, anchor: ParamTree) -> None:
        """Clip the gradient, correct it, take one optimizer step and forget the gradient."""
        moving = {name: parameter for name, parameter in self.parameters.items() if parameter.grad is not None}
        if clip is not None:
            nn.utils.clip_grad_norm_(moving.values(), clip)
        if correction is not None:
            _correct(moving, correction, anchor, learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()


def _optimizer(parameters: Mapping[str, nn.Parameter], settings: LocalSettings) -> torch.optim.Optimizer:
    """Return the optimizer; weight decay leaves out biases and the weights of norms, as is usual."""
    matrices = [p for p in parameters.values() if p.ndim > 1]
    vectors = [p for p in parameters.values() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(
                groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True
            )
        case "sgd":
            return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)


@torch.no_grad()
def _correct(
    moving: Mapping[str, nn.Parameter], correction: Correction, anchor: ParamTree, learning_rate: float
) -> None:
    for name, parameter in moving.items():
        gradient = parameter.grad
        assert gradient is not None
        if correction.offset is not None:
            gradient.add_(correction.offset[name])
        if correction.strength != 0:
            pull = parameter - anchor[name]
            if correction.decoupled:
                parameter.sub_(pull, alpha=learning_rate * correction.strength)
            else:
                gradient.add_(pull, alpha=correction.strength)
