"""Noise that participants add, beside a trusted coordinator's: cost and error by bits of a coordinate, and speed.

One round of 30 participants with 200,000 numbers each, clipped to norm 1, and a noise multiplier of 1, of which all 30
make a share. ρ is what a round costs (Rényi divergence over its order): 1/2 with a Gaussian that a coordinator adds,
whose mean squared error on the sum is 1. Updates agree in part, which is the hard case for wrapping around.
Seconds are processor time on this core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from foedus.core.entropy import Entropy
from foedus.core.seeds import SeedKey
from foedus.federation.collect import RunningSum
from foedus.federation.messages import LocalUpdate, Trees
from foedus.privacy.distributed.draws import Distribution, sampler
from foedus.privacy.distributed.grid import NoisedGrid
from foedus.privacy.distributed.losses import concentration, skellam_losses
from foedus.privacy.distributed.packing import DistributedNoise, NoisedPacking
from foedus.privacy.distributed.rotation import Rotation, padded_length
from foedus.privacy.distributed.rounding import round_within
from foedus.privacy.secure_sum.masks import add_vector_in_place

PARTICIPANTS, LENGTH, NOISE = 30, 200_000, 1.0
BITS = (10, 12, 14, 16)
LARGE = 22_000_000
DISTRIBUTIONS: Sequence[Distribution] = ("discrete_gaussian", "skellam")


@dataclass(frozen=True)
class Row:
    """One way to add the noise.

    cost: ρ, also if the vector were padded to a power of 2, as papers have it. error: mean squared, of the sum.
    """

    bits: int
    distribution: Distribution
    cost: float
    cost_padded_to_power: float
    error: float
    upload_bytes: int


def packing(bits: int, distribution: Distribution, length: int = LENGTH) -> NoisedPacking:
    grid = NoisedGrid(NOISE, PARTICIPANTS, PARTICIPANTS, bits, padded_length(length))
    noise = DistributedNoise(grid, distribution, 1.0, PARTICIPANTS, 1, 1, SeedKey.from_seed(0))
    return NoisedPacking(noise, {"delta": {"x": torch.zeros(length)}})


def updates(length: int = LENGTH) -> Sequence[torch.Tensor]:
    """Return vectors of norm just under 1, of which half of the squared norm is common to all."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(length, generator=generator)
    made = [common + torch.randn(length, generator=generator) for _ in range(PARTICIPANTS)]
    return [vector * ((1 - 1e-6) / vector.norm()) for vector in made]


def row(bits: int, distribution: Distribution, given: Sequence[torch.Tensor]) -> Row:
    packed = packing(bits, distribution)
    vector = packed.layout.zeros()
    for each in given:
        words = packed.layout.zeros()
        trees: Trees = {"delta": {"x": each}}
        packed.write(LocalUpdate({}, 1.0, trees), 0, words, Entropy.secret())
        add_vector_in_place(vector, words)
    total = RunningSum({}, packed.summed_like)
    packed.read(vector, PARTICIPANTS, 0, total)
    exact = torch.stack(list(given)).double().sum(0)
    error = float((total.summed["delta"]["x"].double() - exact).square().mean())
    power = 1 << (LENGTH - 1).bit_length()
    return Row(
        bits,
        distribution,
        cost(packed.noise.grid, distribution),
        cost(NoisedGrid(NOISE, PARTICIPANTS, PARTICIPANTS, bits, power), distribution),
        error,
        packed.layout.byte_size,
    )


def cost(grid: NoisedGrid, distribution: Distribution) -> float:
    """Return ρ; of Skellam noise, for orders from 2 to 64."""
    if distribution == "discrete_gaussian":
        return concentration(grid)
    orders = np.arange(2.0, 65.0)
    return float((skellam_losses(grid, orders) / orders).max())


def seconds(work: Callable[[], object]) -> float:
    """Return the least processor time of three tries."""
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def speeds() -> Sequence[tuple[str, float]]:
    """Return each step of a participant and of the coordinator over 22 million numbers, in seconds."""
    grid = NoisedGrid(NOISE, PARTICIPANTS, PARTICIPANTS, 16, padded_length(LARGE))
    rotation, entropy = Rotation(LARGE, SeedKey.from_seed(0)), Entropy.secret()
    vector = torch.randn(LARGE, generator=torch.Generator().manual_seed(0))
    vector *= (1 - 1e-6) / vector.norm()
    rotated = rotation.rotate(vector)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("rotate", lambda: rotation.rotate(vector)),
        ("round, once or again", lambda: round_within(rotated, 1 / grid.step, grid.largest_squared_norm, entropy)),
    ]
    for distribution in DISTRIBUTIONS:
        table = sampler(distribution, grid.stddev**2)
        name = distribution.replace("_", " ")
        steps.append((f"draw {name} noise", lambda table=table: table.draw(grid.dimension, entropy)))  # type: ignore[misc]
    steps.append(("rotate back (coordinator)", lambda: rotation.unrotate(rotated)))
    return [(name, seconds(work)) for name, work in steps]


def main() -> None:
    given = updates()
    print(f"distributed noise: {PARTICIPANTS} participants, {LENGTH:,} numbers, noise multiplier {NOISE:g}")
    print("a trusted coordinator's Gaussian: rho .5, error 1")
    print(f"{'bits':>4} {'noise':>18} {'rho':>8} {'rho, 2^18':>9} {'error':>7} {'upload':>10}")
    for distribution in DISTRIBUTIONS:
        for bits in BITS:
            made = row(bits, distribution, given)
            print(
                f"{bits:>4} {distribution:>18} {made.cost:>8.4f} {made.cost_padded_to_power:>9.4f} {made.error:>7.4f} "
                f"{made.upload_bytes:>10,}"
            )
    print(f"processor time over {LARGE:,} numbers, {padded_length(LARGE):,} after padding")
    for name, took in speeds():
        print(f"  {name:<28} {took:6.2f} s  {padded_length(LARGE) / took / 1e6:7.1f} M a second")


if __name__ == "__main__":
    main()
