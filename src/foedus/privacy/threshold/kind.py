"""Threshold sums as a kind of secure sum. EXPERIMENTAL: not reviewed by an outside cryptographer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foedus.core.entropy import Entropy
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum.exchanges import Summation
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.kinds import Draft
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.participant import Member, Participation
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.threshold.coordinator import sum_by_threshold
from foedus.privacy.threshold.parameters import FLOOD_SECURITY_BITS
from foedus.privacy.threshold.participant import take_part
from foedus.privacy.threshold.ring import RING


@dataclass(frozen=True)
class Threshold:
    """Encryption under a key that all participants of a round made together, and only all together can use."""

    @property
    def value_bits(self) -> int:
        """The whole word."""
        return 32

    def describe(self) -> str:
        """Return the kind's name, the ring and the flood."""
        return f"threshold 1 ring {RING.degree} {RING.modulus_bits} flood {FLOOD_SECURITY_BITS}"

    def draft(self, layout: Layout) -> Draft:
        """Return a vector of zeros; what is sent is made beside it."""
        return Draft(layout.zeros())

    def coordinate(self, terms: Terms, cohort: Sequence[ParticipantId], identities: Identities) -> Summation:
        """Return the coordinator's side."""
        return sum_by_threshold(terms, cohort, identities)

    def take_part(
        self, member: Member, terms: Terms, invitation: bytes, draft: Draft, entropy: Entropy
    ) -> Participation:
        """Return a participant's side."""
        return take_part(member, terms, invitation, draft.vector, entropy)
