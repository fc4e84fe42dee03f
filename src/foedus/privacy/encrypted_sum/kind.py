"""Encrypted sums as one of the kinds of secure sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foedus.core.entropy import Entropy
from foedus.federation.messages import ParticipantId
from foedus.privacy.encrypted_sum.coordinator import sum_encrypted
from foedus.privacy.encrypted_sum.parameters import Parameters
from foedus.privacy.encrypted_sum.participant import take_part_encrypted
from foedus.privacy.secure_sum.exchanges import Summation
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.kinds import Draft
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.participant import Member, Participation
from foedus.privacy.secure_sum.terms import Terms


@dataclass(frozen=True)
class Ckks:
    """Encryption under a key that all participants hold, and the coordinator does not."""

    parameters: Parameters

    @property
    def value_bits(self) -> int:
        """What fits beside other values into one encrypted number."""
        return self.parameters.value_bits

    def describe(self) -> str:
        """Return the kind's name and how it encrypts."""
        return self.parameters.describe()

    def draft(self, layout: Layout) -> Draft:
        """Return a vector of zeros."""
        return Draft(layout.zeros())

    def coordinate(self, terms: Terms, cohort: Sequence[ParticipantId], identities: Identities) -> Summation:
        """Return the coordinator's side."""
        return sum_encrypted(terms, cohort, identities, self.parameters)

    def take_part(
        self, member: Member, terms: Terms, invitation: bytes, draft: Draft, entropy: Entropy
    ) -> Participation:
        """Return a participant's side."""
        return take_part_encrypted(member, terms, invitation, draft.vector, entropy, parameters=self.parameters)
