"""What a kind of secure sum is: one value with both halves of a protocol. Masks are the first.

Whatever the kind, all sides sum vectors of words as `contents` lays them out, sign the same terms, and
drive the protocol over the same exchanges; `embedding` does these, and knows kinds only as values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foedus.core.entropy import Entropy
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum.coordinator import sum_securely
from foedus.privacy.secure_sum.exchanges import Summation
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.masks import Layout, Vector
from foedus.privacy.secure_sum.messages import MaskedVector
from foedus.privacy.secure_sum.participant import Member, Participation, take_part
from foedus.privacy.secure_sum.terms import Terms


@dataclass(frozen=True)
class Draft:
    """A participant's vector, all zero at first, and the memory of a whole message around it, if a kind has one."""

    vector: Vector
    memory: NDArray[np.uint8] | None = None


class SumKind(Protocol):
    """One way to learn a sum of vectors, word by word modulo the words' size, and nothing else of them."""

    @property
    def value_bits(self) -> int:
        """How many bits the sum of words of 32 may take: the packing of updates keeps to it."""
        ...

    def describe(self) -> str:
        """Return what all sides sign of it: its name and whatever else must be the same everywhere."""
        ...

    def draft(self, layout: Layout) -> Draft:
        """Return where a participant's vector is to be written."""
        ...

    def coordinate(self, terms: Terms, cohort: Sequence[ParticipantId], identities: Identities) -> Summation:
        """Return the coordinator's side."""
        ...

    def take_part(
        self, member: Member, terms: Terms, invitation: bytes, draft: Draft, entropy: Entropy
    ) -> Participation:
        """Return a participant's side. terms: what it knows the sum to be of, itself."""
        ...


@dataclass(frozen=True)
class Masks:
    """Masks that cancel in the sum."""

    @property
    def value_bits(self) -> int:
        """The whole word."""
        return 32

    def describe(self) -> str:
        """Return the kind's name."""
        return "masks"

    def draft(self, layout: Layout) -> Draft:
        """Return memory that is sent as it is: a copy of a large vector takes as long as several masks."""
        memory, vector = MaskedVector.blank(layout)
        return Draft(vector, memory)

    def coordinate(self, terms: Terms, cohort: Sequence[ParticipantId], identities: Identities) -> Summation:
        """Return the coordinator's side."""
        return sum_securely(terms, cohort, identities)

    def take_part(
        self, member: Member, terms: Terms, invitation: bytes, draft: Draft, entropy: Entropy
    ) -> Participation:
        """Return a participant's side."""
        return take_part(member, terms, invitation, draft.vector, entropy, memory=draft.memory)
