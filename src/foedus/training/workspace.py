"""The one copy of the model on a device, which all participants of this process train in turn."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.protocols import Correction, Intervention
from foedus.training.optimizers import make_optimizers, state_fields
from foedus.training.settings import LocalSettings


class Workspace:
    """A model, the parameters of it that travel, and their optimizers.

    Parameters are overwritten in place, and the optimizers' state is zeroed in place, so that a new
    participant allocates nothing.
    parameters: by travelling name; they belong to the model.
    hidden: names of the matrices that Muon is for, if it is the optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        settings: LocalSettings,
        device: torch.device,
        hidden: Collection[str] = (),
    ) -> None:
        self.model = model.to(device)
        self.parameters = dict(parameters)
        self.device = device
        self._optimizers = make_optimizers(self.parameters, settings, hidden)
        self._optimizer_of = {
            parameter: optimizer
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
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
        self.zero_grad()  # a participant that failed on its way to a step leaves a gradient
        self.mode(training=True)

    def live_params(self) -> ParamTree:
        """Return the travelling parameters where they lie; they change with the next training."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def change(self, function: Intervention) -> None:
        """Give the parameters that the function returns the values that it returns."""
        changed = function(self.live_params())
        trees.copy_in_place({name: self.parameters[name] for name in changed}, changed)

    def mode(self, *, training: bool) -> None:
        """Switch dropout and the like on or off."""
        if self._training is not training:
            self.model.train(training)
            self._training = training

    def load_optimizer(self, state: ParamTree | None) -> None:
        """Set the optimizers' state to one of `optimizer_state`, or to that before the first step."""
        for optimizer in self._optimizers:
            for slots in optimizer.state.values():
                for value in slots.values():
                    if isinstance(value, Tensor):
                        value.zero_()
        for key, kept in (state or {}).items():
            name, _, field = key.rpartition("/")
            parameter = self.parameters[name]
            slots = self._optimizer_of[parameter].state[parameter]
            if isinstance(slots.get(field), Tensor):
                slots[field].copy_(kept)
            else:
                slots[field] = kept.clone()

    def optimizer_state(self) -> ParamTree:
        """Return a copy of the optimizers' state, as "parameter/field" -> tensor."""
        return {
            f"{name}/{field}": value.detach().clone()
            for name, parameter in self.parameters.items()
            for field, value in self._optimizer_of[parameter].state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def optimizer_like(self) -> ParamTree:
        """Return the names and shapes that `optimizer_state` has once every parameter was trained.

        They lie on PyTorch's meta device, which holds no values.
        """
        like: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            for field in state_fields(self._optimizer_of[parameter]):
                shape = () if field == "step" else parameter.shape
                dtype = torch.float32 if field == "step" else parameter.dtype
                like[f"{name}/{field}"] = torch.empty(shape, dtype=dtype, device="meta")
        return like

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def gradients(self) -> ParamTree:
        """Return the gradients of the last backward passes, zeros where there are none."""
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
            for name, parameter in self.parameters.items()
        }

    def set_gradients(self, gradients: ParamTree) -> None:
        """Make these the gradients that the next step takes."""
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name].to(parameter)

    def step(self, learning_rate: float, clip: float | None, correction: Correction | None, anchor: ParamTree) -> None:
        """Clip the gradient, correct it, take one optimizer step and forget the gradient."""
        moving = {name: parameter for name, parameter in self.parameters.items() if parameter.grad is not None}
        if clip is not None:
            nn.utils.clip_grad_norm_(moving.values(), clip)
        if correction is not None:
            _correct(moving, correction, anchor, learning_rate)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        self.zero_grad()


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
