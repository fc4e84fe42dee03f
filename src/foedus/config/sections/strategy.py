"""How the participants' updates become one model. The equations stand in foedus.strategies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from foedus.config.sections.section import Number, Section, Share, Whole, Word, kinds

Weighting = Literal["examples", "tokens", "tokens_seen", "uniform"]
Positive = Annotated[Number, Field(gt=0)]


class _Strategy(Section):
    """What all strategies share."""

    weighting: Weighting = "examples"
    """What a participant counts by: its examples, its tokens, the tokens it trained on in the round, or all alike.
    Left out: tokens for language models (tokens_seen with `local.seconds`), examples for others, and uniform where the
    strategy's theory asks for it."""


class FedAvg(_Strategy):
    """Average the models. McMahan et al. 2017."""

    kind: Literal["fedavg"] = "fedavg"
    server_learning_rate: Positive = 1.0
    """How far the global model moves towards the average; 1 is the average itself."""


class FedProx(_Strategy):
    """FedAvg, with local models held near the global one. Li et al. 2020."""

    kind: Literal["fedprox"] = "fedprox"
    mu: Annotated[Number, Field(ge=0)] = 0.01
    """How strongly; 0 is FedAvg, and 0.001 to 1 is usual."""
    decoupled: bool = False
    """Pull the weights themselves, as AdamW does with weight decay, so that AdamW does not rescale the pull."""


class FedAvgM(_Strategy):
    """FedAvg with momentum at the coordinator. Hsu et al. 2019."""

    kind: Literal["fedavgm"] = "fedavgm"
    momentum: Share = 0.9
    """Share of the last step that the next one keeps."""
    server_learning_rate: Positive = 1.0
    """Step size at the coordinator. With momentum 0.9 steps grow tenfold, so few rounds want less."""


class _Adaptive(_Strategy):
    """What the adaptive server optimizers share. Reddi et al. 2021."""

    server_learning_rate: Positive = 0.01
    """Step size at the coordinator."""
    beta1: Share = 0.9
    """Decay of the mean update."""
    tau: Positive = 1e-3
    """Added to the root of the mean square: the larger, the less adaptive."""


class FedAdam(_Adaptive):
    """Adam at the coordinator, without bias correction as in the paper. Reddi et al. 2021."""

    kind: Literal["fedadam"] = "fedadam"
    beta2: Share = 0.99
    """Decay of the mean squared update."""


class FedYogi(_Adaptive):
    """Yogi at the coordinator: Adam whose step sizes change more slowly. Reddi et al. 2021."""

    kind: Literal["fedyogi"] = "fedyogi"
    beta2: Share = 0.99
    """Decay of the mean squared update."""


class FedAdagrad(_Adaptive):
    """Adagrad at the coordinator. Reddi et al. 2021."""

    kind: Literal["fedadagrad"] = "fedadagrad"


class Scaffold(_Strategy):
    """Correct each local gradient by how the participant's differ from the mean. Karimireddy et al. 2020.

    Sends twice the bytes, and participants keep a memory of the model's size.
    """

    kind: Literal["scaffold"] = "scaffold"
    option: Literal[1, 2] = 2
    """How control variates are renewed: 1 by one more pass over the data, 2 from the steps just made."""
    server_learning_rate: Positive = 1.0
    """How far the global model moves towards the average."""
    weighting: Weighting = "uniform"
    """Only uniform: the control variates are plain means, so that a weighted average would not come to rest."""


class FedNova(_Strategy):
    """FedAvg for participants that make unequal numbers of steps. Wang et al. 2020."""

    kind: Literal["fednova"] = "fednova"
    server_learning_rate: Positive = 1.0
    """How far the global model moves towards the normalised average."""
    adaptive_heuristic: bool = False
    """Allow AdamW or Muon, and divide updates by the steps: a heuristic, as there is no closed form for these."""


class FedDyn(_Strategy):
    """Bend each local loss so that all have the global optimum. Acar et al. 2021."""

    kind: Literal["feddyn"] = "feddyn"
    alpha: Positive = 0.01
    """Strength of the bend; 0.01 to 0.1 is usual, and large values diverge."""
    weighting: Weighting = "uniform"
    """Only uniform: the dynamic regularisers cancel in the plain mean alone."""


class FedExP(_Strategy):
    """FedAvg with a server step that grows when updates disagree. Jhunjhunwala et al. 2023."""

    kind: Literal["fedexp"] = "fedexp"
    epsilon: Positive = 1e-3
    """Keeps the step small when the mean update nearly vanishes."""


class Streaming(Section):
    """One fragment of the model a round, mixed in while training goes on. Douillard et al. 2025."""

    fragments: Annotated[Whole, Field(ge=1)] = 4
    """In how many fragments of whole blocks the model is sent, one a round in turn. `local.steps` are those between two
    fragments; the same fragment is sent again after as many rounds."""
    overlap: Annotated[Whole, Field(ge=0)] = 0
    """After how many steps of a round what the last one sent is mixed in: the time that the network has for it."""
    mixing: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """The share of a participant's own parameters in the mix; the rest are the coordinator's. 0 takes the latter."""


class DiLoCo(_Strategy):
    """Many local steps, and Nesterov momentum at the coordinator: for pre-training. Douillard et al. 2023."""

    kind: Literal["diloco"] = "diloco"
    server_learning_rate: Positive = 0.7
    """Step size at the coordinator. Left out with compression sparseloco: 1."""
    momentum: Share | None = None
    """Share of the last step that the next one keeps. Left out: 1 - 12 / rounds, at most 0.9 and at least
    1 - server_learning_rate: high momentum loses in short runs and wins in long ones. With streaming, a fragment's own
    rounds count. With compression sparseloco it is 0."""
    inner_state: Literal["keep", "reset", "average"] = "keep"
    """What becomes of the participants' optimizer between rounds. keep: each keeps its own. reset: it starts anew.
    average: its moments are averaged like the parameters and sent back, which takes two to three times the bytes and
    suits participants that come and go."""
    streaming: Streaming | None = None
    """Send one fragment of the model a round, and mix it in while training goes on. null: all of it every round."""


class Custom(_Strategy):
    """A strategy of your own."""

    kind: Literal["custom"] = "custom"
    path: Word
    """A Python file that defines algorithm(**options) and returns a foedus Algorithm. It is run: trust it first."""
    options: Mapping[str, Any] = {}
    """Keyword arguments of algorithm()."""


Strategy = Annotated[
    FedAvg
    | FedProx
    | FedAvgM
    | FedAdam
    | FedYogi
    | FedAdagrad
    | Scaffold
    | FedNova
    | FedDyn
    | FedExP
    | DiLoCo
    | Custom,
    Field(discriminator="kind", description="How the participants' updates become one model."),
    kinds("fedavg"),
]
