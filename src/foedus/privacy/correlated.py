"""Noise correlated over rounds, made from independent noise one round at a time, in bounded memory.

Source: Kairouz et al. 2021, arXiv:2103.00039; for buffers McMahan et al. 2024, arXiv:2408.08868, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.privacy.factors import BandedSquareRoot, BufferedToeplitz

# Noise trees that later rounds need: as secret as the noise. Empty before the first round.
NoiseMemory = Sequence[ParamTree]


def next_noise(
    factor: BandedSquareRoot | BufferedToeplitz, independent: ParamTree, memory: NoiseMemory
) -> tuple[ParamTree, NoiseMemory]:
    """Return the noise of a round, (C^-1 z)_t, and the memory for the next one.

    independent: z_t, of the standard deviation that the plan names, fresh each round, on the CPU.
    memory: what the last round returned, () in the first. Up to bands - 1 trees of the type of z, or one
        tree of float64 a buffer; it can be had again by replaying z from its key, so it need not be stored.
    """
    match factor:
        case BandedSquareRoot(bands):
            noise = independent
            for coefficient, earlier in zip(factor.column(bands)[1:], memory, strict=False):
                noise = trees.add_scaled(noise, earlier, -float(coefficient))
            return noise, (noise, *memory)[: bands - 1]
        case BufferedToeplitz(scales, decays):
            noise = trees.zip_with(_double, independent)
            for scale, buffer in zip(scales, memory, strict=False):
                noise = trees.add_scaled(noise, buffer, -scale)
            if not memory:
                return noise, tuple(noise for _ in decays)
            return noise, tuple(
                trees.add_scaled(noise, buffer, decay) for buffer, decay in zip(memory, decays, strict=True)
            )


def _double(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64)
