"""What travels in one encrypted sum; invitation, roster and the agreement on survivors are those of masks.

coordinator → participant            participant → coordinator
Terms                                Advertisement
Roster                               SealedSeeds
SeedDelivery                         EncryptedVector
SurvivorList                         Confirmation
SumToOpen, to one of them            OpenedSum

Every `decode` takes bytes that anybody may have made, and raises SecureSumError for all that no
`encode` could have written. Numbers of participants are places on the roster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foedus.privacy.secure_sum.keys import KEY_BYTES, TAG_BYTES
from foedus.privacy.secure_sum.messages import Agreement
from foedus.privacy.secure_sum.wire import DIGEST_BYTES, Reader, header, indices, number

SEALED_SEED_BYTES = KEY_BYTES + TAG_BYTES
CHECK_BYTES = 8  # a number below the modulus


@dataclass(frozen=True)
class SealedSeeds:
    """One participant's seed, sealed for each of the others."""

    roster: bytes
    sealed: Mapping[int, bytes]

    KIND = 20

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + self.roster + _sealed_bytes(self.sealed)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> SealedSeeds:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "a list of sealed seeds")
        reader.header(cls.KIND)
        read = cls(reader.take(DIGEST_BYTES), _read_sealed(reader))
        reader.end()
        return read


@dataclass(frozen=True)
class SeedDelivery:
    """Whose seeds make the key, and each of them sealed for one participant."""

    roster: bytes
    sharers: tuple[int, ...]
    sealed: Mapping[int, bytes]

    KIND = 21

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + self.roster + indices(self.sharers) + _sealed_bytes(self.sealed)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> SeedDelivery:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "the delivery of seeds")
        reader.header(cls.KIND)
        read = cls(reader.take(DIGEST_BYTES), reader.indices(), _read_sealed(reader))
        reader.end()
        return read


@dataclass(frozen=True)
class EncryptedVector:
    """One participant's vector under the shared key, and the tag that sums are checked by."""

    roster: bytes
    tag: int
    words: bytes | memoryview

    KIND = 22

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((header(self.KIND), self.roster, number(self.tag, CHECK_BYTES), self.words))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> EncryptedVector:
        """Return what the bytes encode, or raise SecureSumError; the layout says how many words there must be."""
        reader = Reader(data, "an encrypted vector")
        reader.header(cls.KIND)
        return cls(reader.take(DIGEST_BYTES), reader.number(CHECK_BYTES), reader.rest())


@dataclass(frozen=True)
class SumToOpen:
    """The sum of the survivors' ciphertexts and of their tags, and their signatures over who they are."""

    agreement: Agreement
    tag: int
    words: bytes | memoryview

    KIND = 23

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        agreed = self.agreement.encode()
        return b"".join((header(self.KIND), number(len(agreed), 4), agreed, number(self.tag, CHECK_BYTES), self.words))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> SumToOpen:
        """Return what the bytes encode, or raise SecureSumError; the layout says how many words there must be."""
        reader = Reader(data, "a sum to open")
        reader.header(cls.KIND)
        agreement = Agreement.decode(reader.view(reader.number(4)))
        return cls(agreement, reader.number(CHECK_BYTES), reader.rest())


@dataclass(frozen=True)
class OpenedSum:
    """The sum of the survivors' words."""

    roster: bytes
    words: bytes | memoryview

    KIND = 24

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((header(self.KIND), self.roster, self.words))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> OpenedSum:
        """Return what the bytes encode, or raise SecureSumError; the layout says how many words there must be."""
        reader = Reader(data, "an opened sum")
        reader.header(cls.KIND)
        return cls(reader.take(DIGEST_BYTES), reader.rest())


def _sealed_bytes(sealed: Mapping[int, bytes]) -> bytes:
    return number(len(sealed), 4) + b"".join(number(index, 4) + sealed[index] for index in sorted(sealed))


def _read_sealed(reader: Reader) -> Mapping[int, bytes]:
    count = reader.entries(4 + SEALED_SEED_BYTES)
    rows = [(reader.number(4), reader.take(SEALED_SEED_BYTES)) for _ in range(count)]
    reader.rising([index for index, _ in rows])
    return dict(rows)
