"""DP-SGD's steps: batches drawn by coins, gradients clipped record by record, noise on their sum.

The optimizer, and whatever a strategy adds to the gradient, see the noisy gradient alone: all that follows is
post-processing, and costs nothing more.
Source: Abadi et al. 2016, Algorithm 1, arXiv:1607.00133; with AdamW: Li et al. 2022, arXiv:2110.05679.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from foedus.core import trees
from foedus.core.entropy import Entropy
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.privacy.gradients.clipped_sums import ClippedSums
from foedus.privacy.noise import add_gaussian
from foedus.privacy.plan import RecordPlan

# Runs the model on the rows of these indices and returns each one's own loss. Shape: (rows,)
LossesOf = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class PrivateSteps:
    """How one participant's steps are made private.

    plan: its clip norm, noise and sampling rate; the accountant's event follows from the same fields.
    sums: hooks on the model that all participants of this process share.
    seed: None, and noise and batches come from the operating system; or a key that they follow from, and
        then they hide nothing from whoever knows it.
    """

    plan: RecordPlan
    sums: ClippedSums
    seed: SeedKey | None

    def entropy(self, round_number: int) -> Entropy:
        """Return a round's randomness: fresh, unless it is marked as reproducible."""
        if self.seed is None:
            return Entropy.secret()
        return Entropy.reproducible_from(self.seed.child("round", round_number))

    def draw(self, entropy: Entropy) -> Sequence[int]:
        """Return a batch: each record by an independent coin. It may be empty."""
        return entropy.chosen(self.plan.records, self.plan.sampling_rate)

    def gradient(self, batch: Sequence[int], at_once: int, losses_of: LossesOf, entropy: Entropy) -> ParamTree:
        """Return the clipped gradients' sum over the batch, plus noise, divided by the batch expected.

        An empty batch gives noise alone: that it was empty is as secret as any record.
        at_once: so many records go through the model together.
        Guarantee: one Gaussian mechanism, subsampled by Poisson coins, for adding or removing one record.
        """
        for start in range(0, len(batch), at_once):
            indices = batch[start : start + at_once]
            self.sums.add(lambda indices=indices: losses_of(indices), len(indices))  # type: ignore[misc] # bound now
        noisy = add_gaussian(self.sums.take(), self.plan.noise_multiplier * self.plan.clip_norm, entropy)
        return trees.scale(noisy, 1 / self.plan.expected_batch)
