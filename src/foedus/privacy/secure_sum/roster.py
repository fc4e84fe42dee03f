"""The roster: who takes part in one sum, with fresh keys that each has signed beside the terms.

Its digest is in every later derivation and signature, so nothing of one round opens in another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256

from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.keys import KEY_BYTES, Identities, RoundKeys
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.secure_sum.wire import DIGEST_BYTES, Reader, header, indices, text
from foedus.privacy.signing.identity import SIGNATURE_BYTES, Identity

ADVERTISEMENT = 2
ROSTER = 3
SURVIVORS = 7


@dataclass(frozen=True)
class Advertisement:
    """What one participant shows the others: its keys of this round, signed together with the terms."""

    terms: bytes  # their digest
    participant: ParticipantId
    channel_key: bytes
    mask_key: bytes
    seed_commitment: bytes
    signature: bytes = b""

    def _unsigned(self) -> bytes:
        keys_shown = self.channel_key + self.mask_key + self.seed_commitment
        return header(ADVERTISEMENT) + self.terms + text(self.participant) + keys_shown

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self._unsigned() + self.signature

    @classmethod
    def signed(cls, terms: Terms, participant: ParticipantId, own: RoundKeys, identity: Identity) -> Advertisement:
        """Return the advertisement of a participant's keys."""
        shown = keys.public_key(own.channel), keys.public_key(own.mask), keys.commitment(own.seed)
        plain = cls(terms.digest(), participant, *shown)
        return replace(plain, signature=keys.signature_of(identity, plain._unsigned()))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Advertisement:
        """Return the advertisement in these bytes, its signature unchecked.

        Raises: SecureSumError if they are not the encoding of any.
        """
        reader = Reader(data, "an advertisement of keys")
        advertisement = cls.read(reader)
        reader.end()
        return advertisement

    @classmethod
    def read(cls, reader: Reader) -> Advertisement:
        """Take an advertisement from the front of more bytes."""
        reader.header(ADVERTISEMENT)
        terms, participant = reader.take(DIGEST_BYTES), reader.text()
        shown = reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.take(KEY_BYTES)
        return cls(terms, participant, *shown, reader.take(SIGNATURE_BYTES))

    def check(self, terms: bytes, identities: Identities) -> None:
        """Return if it stands for these terms and its participant signed it.

        Raises: SecureSumError otherwise.
        """
        keys.verify_terms(self.participant, (self.terms, terms), self.signature, self._unsigned(), identities)


@dataclass(frozen=True)
class Roster:
    """The advertisements of all who take part, in the order of their names; an index is a place in it."""

    members: tuple[Advertisement, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        count = len(self.members).to_bytes(4, "big")
        return header(ROSTER) + count + b"".join(member.encode() for member in self.members)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Roster:
        """Return the roster in these bytes, its signatures unchecked.

        Raises: SecureSumError if they are not the encoding of any, with names in rising order.
        """
        return _decoded_roster(bytes(data))

    @classmethod
    def of(cls, members: Sequence[Advertisement]) -> Roster:
        """Return the roster of these advertisements."""
        return cls(tuple(sorted(members, key=lambda member: member.participant.encode())))

    def check(self, terms: Terms, identities: Identities) -> None:
        """Return if everyone on it signed these terms with its pinned key, and there are enough.

        Raises: SecureSumError otherwise.
        """
        digest = terms.digest()
        for member in self.members:
            member.check(digest, identities)
        for kind in ("channel_key", "mask_key"):
            if len({getattr(member, kind) for member in self.members}) != len(self.members):
                raise SecureSumError(f"two on the roster show the same {kind}; one of them is not honest")
        terms.rules.survivors_needed(len(self.members))

    @cached_property
    def digest(self) -> bytes:
        """The hash of the canonical bytes."""
        return sha256(self.encode()).digest()

    @cached_property
    def names(self) -> tuple[ParticipantId, ...]:
        """The participants, by index."""
        return tuple(member.participant for member in self.members)

    @cached_property
    def places(self) -> Mapping[ParticipantId, int]:
        """The index of each participant."""
        return {name: index for index, name in enumerate(self.names)}


@lru_cache(maxsize=2)  # in a simulation, all participants of one process get the same bytes
def _decoded_roster(data: bytes) -> Roster:
    reader = Reader(data, "the roster")
    reader.header(ROSTER)
    least = DIGEST_BYTES + 3 * KEY_BYTES + SIGNATURE_BYTES
    members = tuple(Advertisement.read(reader) for _ in range(reader.entries(least)))
    reader.end()
    reader.rising([member.participant.encode() for member in members])
    return Roster(members)


def survivors_statement(roster: bytes, sharers: Sequence[int], survivors: Sequence[int]) -> bytes:
    """Return what everyone signs before a share is released: who shared, and who sent a masked vector.

    An honest participant signs one such statement for a roster. Two statements with a threshold of
    signatures each would have more than 2t - n signers in common, so no honest one releases shares
    for another statement than the others do.
    """
    return header(SURVIVORS) + roster + sha256(indices(sharers) + indices(survivors)).digest()
