"""How updates become words that are summed, and what a sum of words says: the seam between a sum and its contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from foedus.core.entropy import Entropy
from foedus.federation.collect import RunningSum
from foedus.federation.messages import LocalUpdate, Trees
from foedus.privacy.secure_sum.contents import Contents, Scale, contents_of_updates, read_updates, write_update
from foedus.privacy.secure_sum.masks import Layout, Vector


class Packing(Protocol):
    """Updates of given names and shapes as words. Both sides build it from what they know themselves."""

    @property
    def layout(self) -> Layout:
        """How many words of which width a vector has."""
        ...

    @property
    def settings(self) -> bytes:
        """A digest of all that decides what words mean: participants sign it."""
        ...

    def answered_once(self, round_index: int) -> Sequence[str]:
        """Return names under each of which a participant gives one answer in a run, beside its one for the round.

        Raises: SecureSumError if nothing may be answered in such a round.
        """
        ...

    def write(self, update: LocalUpdate, round_index: int, vector: Vector, entropy: Entropy) -> None:
        """Put an update into a vector, every word of it. entropy: what the participant's own noise is drawn from.

        Raises: ParticipantError if it is not such an update.
        """
        ...

    def read(self, summed: Vector, reports: int, round_index: int, total: RunningSum) -> int | None:
        """Fill a running sum with what the words of so many participants sum to.

        Returns how many values were clipped; None if nobody counts these.
        """
        ...


# From names and shapes of averaged and of summed trees.
Pack = Callable[[Trees, Trees], Packing]


@dataclass(frozen=True)
class GridPacking:
    """Updates rounded to a common grid, with their weight, metrics and counts."""

    averaged_like: Trees
    summed_like: Trees
    scale: Scale
    contents: Contents

    @classmethod
    def of(cls, averaged_like: Trees, summed_like: Trees, scale: Scale) -> GridPacking:
        """Return the packing of updates of these names and shapes."""
        return cls(averaged_like, summed_like, scale, contents_of_updates(averaged_like, summed_like, scale))

    @property
    def layout(self) -> Layout:
        """The words of all entries."""
        return self.contents.layout

    @property
    def settings(self) -> bytes:
        """The digest of every name, shape and grid."""
        return self.contents.settings

    def answered_once(self, round_index: int) -> Sequence[str]:
        """Return nothing: one answer for each round is enough."""
        return ()

    def write(self, update: LocalUpdate, round_index: int, vector: Vector, entropy: Entropy) -> None:
        """Round the update to the grid."""
        write_update(update, (self.averaged_like, self.summed_like), self.scale, self.contents, vector)

    def read(self, summed: Vector, reports: int, round_index: int, total: RunningSum) -> int | None:
        """Restore the sums."""
        return read_updates(self.contents.read(summed), reports, total)
