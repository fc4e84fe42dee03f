"""A clipped upload as words of a secure sum that carry its share of the noise, and the mean back from their sum.

A participant rotates, scales to the grid, rounds, adds its noise, and takes the result modulo 2^bits; the masks of the
secure sum come on top. Nothing else travels with it: no weight, no loss, no count.
Source: Kairouz, Liu, Steinke 2021, Algorithms 1 and 2, arXiv:2102.06387.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foedus.core.entropy import Entropy
from foedus.core.errors import ParticipantError, SecureSumError
from foedus.core.seeds import SeedKey
from foedus.federation.collect import RunningSum, check_update
from foedus.federation.messages import LocalUpdate, Trees
from foedus.privacy.distributed.draws import Distribution, sampler
from foedus.privacy.distributed.grid import NoisedGrid
from foedus.privacy.distributed.rotation import Rotation, padded_length
from foedus.privacy.distributed.rounding import round_within
from foedus.privacy.secure_sum.masks import Layout, Vector
from foedus.privacy.secure_sum.terms import Rules

_VERSION = 1
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DistributedNoise:
    """What all participants of a run add to what they send.

    survivors: the fewest that a sum may hold; of them, `grid.honest` add noise that nobody else knows.
    separation: rounds in each of which a participant answers once. rounds: how many the run has.
    rotations: what each round's rotation follows from; no secret.
    """

    grid: NoisedGrid
    distribution: Distribution
    clip_norm: float
    survivors: int
    separation: int
    rounds: int
    rotations: SeedKey

    def check_rules(self, rules: Rules) -> None:
        """Return if a sum under these rules always holds as many participants as the noise is reckoned for.

        Raises: SecureSumError otherwise.
        """
        if (least := rules.least_survivors) < self.survivors:
            raise SecureSumError(
                f"a sum of {least} participants may be opened, and the noise is that of {self.survivors}; raise "
                "secure_sum.threshold or secure_sum.min_cohort"
            )

    def describe(self) -> list[str | int]:
        """Return canonical values, for the digest that participants sign."""
        grid = self.grid
        numbers = grid.noise_multiplier.hex(), grid.cohort, grid.honest, grid.bits, grid.dimension
        own = self.distribution, self.clip_norm.hex(), self.survivors, self.separation, self.rounds
        return [_VERSION, *numbers, *own, self.rotations.digest.hex()]


@dataclass(frozen=True)
class NoisedPacking:
    """Updates of the given names and shapes as one rotated, rounded and noised vector.

    summed_like: trees of an update; they are clipped together before they come here.
    """

    noise: DistributedNoise
    summed_like: Trees

    def __post_init__(self) -> None:
        if padded_length(length_of(self.summed_like)) != self.noise.grid.dimension:
            raise SecureSumError("an update has another length than the one that its noise is reckoned for")

    @property
    def layout(self) -> Layout:
        """As many words as there are coordinates after padding."""
        return Layout(((_word(self.noise.grid.bits), self.noise.grid.dimension),))

    @property
    def settings(self) -> bytes:
        """The digest of every name and shape, and of all that makes the noise."""
        shapes = [[part, name, list(tensor.shape)] for part, name, tensor in _tensors(self.summed_like)]
        return sha256(json.dumps([self.noise.describe(), shapes]).encode()).digest()

    def answered_once(self, round_index: int) -> Sequence[str]:
        """Return a name for the turn that a round is in: a participant answers once in each.

        Raises: SecureSumError for a round after the last one that was planned.
        """
        if not 0 <= round_index < self.noise.rounds:
            raise SecureSumError(
                f"round {round_index + 1} was asked for, and what is spent was reckoned for {self.noise.rounds}"
            )
        return (f"turn {round_index // self.noise.separation}",)

    def write(self, update: LocalUpdate, round_index: int, vector: Vector, entropy: Entropy) -> None:
        """Put a clipped update and its noise into a vector.

        entropy: the participant's own; whoever knows it can take the noise off.
        Raises: ParticipantError if it holds anything else than was declared, or is longer than the clipping norm.
        """
        check_update(update, {}, self.summed_like)
        if update.weight != 1 or update.metrics or update.counts:
            raise ParticipantError("its update has a weight, metrics or counts, which noise does not cover")
        grid = self.noise.grid
        scale = 1 / (self.noise.clip_norm * grid.step)
        rotated = self._rotation(round_index).rotate(_flat(update.summed))
        noised = round_within(rotated, scale, grid.largest_squared_norm, entropy)
        del rotated
        table = sampler(self.noise.distribution, grid.stddev**2)
        (words,) = vector
        mask = (1 << grid.bits) - 1
        for begin in range(0, len(noised), _CHUNK):
            piece = noised[begin : begin + _CHUNK]
            piece += table.draw(len(piece), entropy)
            words[begin : begin + _CHUNK] = piece & mask

    def read(self, summed: Vector, reports: int, round_index: int, total: RunningSum) -> None:
        """Fill a running sum with the noised sum of clipped updates."""
        grid = self.noise.grid
        (words,) = summed
        centred = torch.from_numpy(lifted(words, grid.bits)).to(torch.float32)
        flat = self._rotation(round_index).unrotate(centred).mul_(self.noise.clip_norm * grid.step)
        begin, trees = 0, {part: dict(tree) for part, tree in self.summed_like.items()}
        for part, name, like in _tensors(self.summed_like):
            tensor = flat[begin : begin + like.numel()].view(like.shape)
            wide = torch.promote_types(like.dtype, torch.float32)
            trees[part][name] = tensor.to(like.device, wide)
            begin += like.numel()
        total.summed |= trees
        total.weight, total.reports = float(reports), reports

    def _rotation(self, round_index: int) -> Rotation:
        return Rotation(length_of(self.summed_like), self.noise.rotations.child("round", round_index))


def length_of(trees: Trees) -> int:
    """Return how many numbers trees hold."""
    return sum(tensor.numel() for _, _, tensor in _tensors(trees))


def lifted(words: NDArray[np.unsignedinteger], bits: int) -> NDArray[np.int32]:
    """Return what words stand for modulo 2^bits: whole numbers from -2^(bits - 1) on.

    >>> lifted(np.array([0, 511, 512, 1023, 1024], dtype=np.uint16), 10).tolist()
    [0, 511, -512, -1, 0]
    """
    half = 1 << (bits - 1)
    return ((words.astype(np.int32) + half) & ((1 << bits) - 1)) - half


def _word(bits: int) -> int:
    """Return the width of the words that travel: sums modulo 2^bits follow from those modulo 2^width."""
    return 8 if bits <= 8 else 16


def _tensors(trees: Trees) -> Iterator[tuple[str, str, Tensor]]:
    for part in sorted(trees):
        for name in sorted(trees[part]):
            yield part, name, trees[part][name]


def _flat(trees: Trees) -> Tensor:
    return torch.cat([tensor.detach().to("cpu", torch.float32).reshape(-1) for _, _, tensor in _tensors(trees)])
