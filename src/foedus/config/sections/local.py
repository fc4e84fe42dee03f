"""How a participant trains in a round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from foedus.config.sections.section import Number, Section, Share, Whole, Word, kinds


class AdamW(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    """Share of learning rate x weight that each step takes off a weight."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay of the mean gradient, and of the mean squared gradient."""
    epsilon: Annotated[Number, Field(gt=0)] = 1e-8
    """Added to the root of the mean squared gradient."""


class SGD(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    momentum: Share = 0.0
    """Share of the last step that the next one keeps."""
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    """Added to the gradient, times the weight."""


class Muon(Section):
    """Orthogonalised momentum for the model's hidden matrices, and AdamW for the rest: embeddings, the last layer,
    biases, norms. Jordan et al. 2024; scaled as by Liu et al. 2025, so that AdamW's learning rates suit it.
    """

    kind: Literal["muon"] = "muon"
    momentum: Share = 0.95
    """Share of the mean gradient of the hidden matrices that the next step keeps."""
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    """Share of learning rate x weight that each step takes off a weight."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Of AdamW in the rest: decay of the mean gradient, and of the mean squared gradient."""
    epsilon: Annotated[Number, Field(gt=0)] = 1e-8
    """Of AdamW in the rest: added to the root of the mean squared gradient."""


Optimizer = Annotated[
    AdamW | SGD | Muon,
    Field(discriminator="kind", description="The local optimizer."),
    kinds("adamw"),
]


class _Schedule(Section):
    """What all schedules share."""

    warmup: Share = 0.0
    """Share of the whole run in which the learning rate rises from zero."""


class Constant(_Schedule):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"


class Linear(_Schedule):
    """The learning rate falls to zero along a line."""

    kind: Literal["linear"] = "linear"


class Cosine(_Schedule):
    """The learning rate falls to zero along half a cosine."""

    kind: Literal["cosine"] = "cosine"


Schedule = Annotated[
    Constant | Linear | Cosine,
    Field(
        discriminator="kind",
        description="How the learning rate changes over the whole run, not over a round.",
    ),
    kinds("constant"),
]


class Local(Section):
    """How a participant trains in a round."""

    epochs: Annotated[Whole, Field(ge=1)] | None = None
    """Passes over the participant's rows in a round. Left out: 1, unless `steps` or `seconds` is given."""
    steps: Annotated[Whole, Field(ge=1)] | None = None
    """Optimizer steps in a round, in place of epochs: the same for every participant. With `seconds`: those of a
    participant's first round, before its speed is known; left out, 10."""
    seconds: Annotated[Number, Field(gt=0)] | None = None
    """How long a participant trains in a round, in place of epochs: as many steps as fit at the speed of its earlier
    rounds, and at least one. They are fixed at the round's start and recorded."""
    speeds: Mapping[str, Annotated[Number, Field(gt=0)]] = {}
    """Participant → optimizer steps a second, in place of its measured speed: for experiments with participants of
    unlike speed on one machine, and for the same steps in every run."""
    replay: Word | None = None
    """The folder of a run with `seconds`, whose recorded steps are made again, round by round; nothing is measured."""
    batch_size: Annotated[Whole, Field(ge=1)] = 16
    """Rows in memory at once."""
    accumulation: Annotated[Whole, Field(ge=1)] = 1
    """Batches whose gradients make one step."""
    learning_rate: Annotated[Number, Field(gt=0)] = 5e-5
    """Step size. Left out: for AdamW and Muon 5e-5 when a checkpoint is trained whole and 5e-4 otherwise; for SGD
    0.05."""
    optimizer: Optimizer = AdamW()
    schedule: Schedule = Constant()
    gradient_clip: Annotated[Number, Field(gt=0)] | None = 1.0
    """Largest norm of a gradient; longer ones are scaled down. null: no limit."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: matrix products in bfloat16, which suits recent accelerators; weights stay fp32."""
    gradient_checkpointing: bool = False
    """Save memory by computing activations twice."""
    keep_optimizer: bool = False
    """Participants keep their optimizer's state from round to round. With DiLoCo, `strategy.inner_state` decides."""
    group_by_length: bool = True
    """Put rows of like length into a batch, to waste less on padding."""
