"""What travels in one secure sum, after the invitation (Terms) and the advertisements.

coordinator → participant            participant → coordinator
Terms                                Advertisement
Roster                               SealedShares
Delivery                             MaskedVector
SurvivorList                         Confirmation
Agreement                            Opening

Every `decode` takes bytes that anybody may have made, and raises SecureSumError for all that no
`encode` could have written. Numbers of participants are places on the roster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from foedus.privacy.secure_sum.field import SHARES
from foedus.privacy.secure_sum.keys import TAG_BYTES
from foedus.privacy.secure_sum.masks import Layout, Vector
from foedus.privacy.secure_sum.wire import DIGEST_BYTES, Reader, header, indices, number
from foedus.privacy.signing.identity import SIGNATURE_BYTES

SHARE_BYTES = SHARES.element_bytes
SEALED_BYTES = 2 * SHARE_BYTES + TAG_BYTES  # a share of the mask key, a share of the seed, the seal's tag


class ShareKind(IntEnum):
    """Which of a participant's two secrets a share belongs to. Nobody ever opens both."""

    MASK_KEY = 1  # of one that vanished: its pairwise masks must be taken away
    SEED = 2  # of one that stayed: its own mask must be


@dataclass(frozen=True)
class SealedShares:
    """One participant's shares, each sealed for its holder."""

    roster: bytes
    sealed: Mapping[int, bytes]

    KIND = 4

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + self.roster + _sealed_bytes(self.sealed)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> SealedShares:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "a list of sealed shares")
        reader.header(cls.KIND)
        read = cls(reader.take(DIGEST_BYTES), _read_sealed(reader))
        reader.end()
        return read


@dataclass(frozen=True)
class Delivery:
    """Who shared its secrets, and what of that is for one participant."""

    roster: bytes
    sharers: tuple[int, ...]
    sealed: Mapping[int, bytes]

    KIND = 5

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + self.roster + indices(self.sharers) + _sealed_bytes(self.sealed)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Delivery:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "the delivery of shares")
        reader.header(cls.KIND)
        read = cls(reader.take(DIGEST_BYTES), reader.indices(), _read_sealed(reader))
        reader.end()
        return read


@dataclass(frozen=True)
class MaskedVector:
    """One participant's vector under its masks.

    Its words begin at a multiple of 64 bytes, so that they can be added where they lie.
    """

    roster: bytes
    words: bytes | memoryview

    KIND = 6
    OFFSET = 64

    @classmethod
    def frame(cls, roster: bytes) -> bytes:
        """Return what stands before the words."""
        return (header(cls.KIND) + roster).ljust(cls.OFFSET, b"\x00")

    @classmethod
    def blank(cls, layout: Layout) -> tuple[NDArray[np.uint8], Vector]:
        """Return memory for a whole message, and the vector of its words in it, all zero."""
        memory = np.zeros(cls.OFFSET + layout.byte_size, dtype=np.uint8)
        return memory, layout.from_bytes(memory[cls.OFFSET :].data)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((self.frame(self.roster), self.words))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> MaskedVector:
        """Return what the bytes encode, or raise SecureSumError; the layout says how many words there must be."""
        reader = Reader(data, "a masked vector")
        reader.header(cls.KIND)
        roster = reader.take(DIGEST_BYTES)
        if any(reader.take(cls.OFFSET - len(header(cls.KIND)) - DIGEST_BYTES)):
            raise reader.refusal("has something where nothing may stand")
        return cls(roster, reader.rest())


@dataclass(frozen=True)
class SurvivorList:
    """Who sent a masked vector, for everybody to sign."""

    roster: bytes
    survivors: tuple[int, ...]

    KIND = 8

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + self.roster + indices(self.survivors)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> SurvivorList:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "the list of survivors")
        reader.header(cls.KIND)
        read = cls(reader.take(DIGEST_BYTES), reader.indices())
        reader.end()
        return read


@dataclass(frozen=True)
class Confirmation:
    """One participant's signature over the survivors' statement."""

    signature: bytes

    KIND = 9

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + self.signature

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Confirmation:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "a confirmation of the survivors")
        reader.header(cls.KIND)
        read = cls(reader.take(SIGNATURE_BYTES))
        reader.end()
        return read


@dataclass(frozen=True)
class Agreement:
    """The signatures over the survivors' statement, by signer."""

    signatures: Mapping[int, bytes]

    KIND = 10

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        rows = (number(signer, 4) + self.signatures[signer] for signer in sorted(self.signatures))
        return header(self.KIND) + number(len(self.signatures), 4) + b"".join(rows)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Agreement:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "the agreement on the survivors")
        reader.header(cls.KIND)
        count = reader.entries(4 + SIGNATURE_BYTES)
        rows = [(reader.number(4), reader.take(SIGNATURE_BYTES)) for _ in range(count)]
        reader.end()
        reader.rising([signer for signer, _ in rows])
        return cls(dict(rows))


@dataclass(frozen=True)
class Opening:
    """One holder's shares, by owner: one kind each."""

    shares: Mapping[int, tuple[ShareKind, int]]

    KIND = 11

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        rows = []
        for owner in sorted(self.shares):
            kind, share = self.shares[owner]
            rows.append(number(owner, 4) + number(kind, 1) + SHARES.encode(share))
        return header(self.KIND) + number(len(rows), 4) + b"".join(rows)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Opening:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "the opening of shares")
        reader.header(cls.KIND)
        rows: list[tuple[int, tuple[ShareKind, int]]] = []
        for _ in range(reader.entries(5 + SHARE_BYTES)):
            owner, kind = reader.number(4), reader.number(1)
            if kind not in set(ShareKind):
                raise reader.refusal(f"holds a share of kind {kind}; there are kinds 1 and 2")
            rows.append((owner, (ShareKind(kind), SHARES.decode(reader.take(SHARE_BYTES)))))
        reader.end()
        reader.rising([owner for owner, _ in rows])
        return cls(dict(rows))


def _sealed_bytes(sealed: Mapping[int, bytes]) -> bytes:
    return number(len(sealed), 4) + b"".join(number(index, 4) + sealed[index] for index in sorted(sealed))


def _read_sealed(reader: Reader) -> Mapping[int, bytes]:
    rows = [(reader.number(4), reader.take(SEALED_BYTES)) for _ in range(reader.entries(4 + SEALED_BYTES))]
    reader.rising([index for index, _ in rows])
    return dict(rows)
