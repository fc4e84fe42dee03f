"""What travels in one threshold sum, after the invitation (Terms).

coordinator → participant                         participant → coordinator
Terms                                             KeyPledge: terms and a commitment to its public key share, signed
KeyPledges: the roster                            KeyOpening: the share
Keys: everybody's shares                          VectorPledge: digest of its ciphertext's mask, signed
VectorPledges: everybody's digests                SentVector: that list, signed, the ciphertext, and a proof
Evidence: these signatures, masks and proofs      PartialDecryption

Every `decode` takes bytes that anybody may have made, and raises SecureSumError for all that no `encode` could have
written. Numbers of participants are places on the roster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256

from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.secure_sum.wire import DIGEST_BYTES, DOMAIN, VERSION, Reader, header, indices, number, text
from foedus.privacy.signing.identity import SIGNATURE_BYTES, Identity

Blob = bytes | memoryview  # many ring elements; the parameters say how many


def commitment(terms: bytes, participant: ParticipantId, public: Blob) -> bytes:
    """Return what shows later that a public key share was chosen before any other was seen.

    It hides the share, which nobody else can guess; it names the participant, so that nobody can repeat another's.
    """
    purpose = DOMAIN + number(VERSION, 1) + b" threshold key share\x00"
    return sha256(purpose + terms + text(participant) + public).digest()


@dataclass(frozen=True)
class KeyPledge:
    """What one participant shows first: the terms that it signs, and a commitment to its public key share."""

    terms: bytes  # their digest
    participant: ParticipantId
    commitment: bytes
    signature: bytes = b""

    KIND = 40

    def _unsigned(self) -> bytes:
        return header(self.KIND) + self.terms + text(self.participant) + self.commitment

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self._unsigned() + self.signature

    @classmethod
    def signed(cls, terms: Terms, participant: ParticipantId, public: bytes, identity: Identity) -> KeyPledge:
        """Return the pledge of a participant's public share."""
        digest = terms.digest()
        plain = cls(digest, participant, commitment(digest, participant, public))
        return replace(plain, signature=keys.signature_of(identity, plain._unsigned()))

    @classmethod
    def decode(cls, data: Blob) -> KeyPledge:
        """Return what the bytes encode, its signature unchecked, or raise SecureSumError."""
        reader = Reader(data, "a pledge of a key share")
        pledge = cls.read(reader)
        reader.end()
        return pledge

    @classmethod
    def read(cls, reader: Reader) -> KeyPledge:
        """Take a pledge from the front of more bytes."""
        reader.header(cls.KIND)
        return cls(reader.take(DIGEST_BYTES), reader.text(), reader.take(DIGEST_BYTES), reader.take(SIGNATURE_BYTES))

    def check(self, terms: bytes, identities: Identities) -> None:
        """Return if it stands for these terms and its participant signed it.

        Raises: SecureSumError otherwise.
        """
        keys.verify_terms(self.participant, (self.terms, terms), self.signature, self._unsigned(), identities)


@dataclass(frozen=True)
class KeyPledges:
    """The roster: the pledges of all who take part, in the order of their names; an index is a place in it."""

    members: tuple[KeyPledge, ...]

    KIND = 41

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + number(len(self.members), 4) + b"".join(member.encode() for member in self.members)

    @classmethod
    def decode(cls, data: Blob) -> KeyPledges:
        """Return what the bytes encode, signatures unchecked, or raise SecureSumError."""
        reader = Reader(data, "the roster of a threshold sum")
        reader.header(cls.KIND)
        members = tuple(KeyPledge.read(reader) for _ in range(reader.entries(2 * DIGEST_BYTES + SIGNATURE_BYTES)))
        reader.end()
        reader.rising([member.participant.encode() for member in members])
        return cls(members)

    @classmethod
    def of(cls, members: list[KeyPledge]) -> KeyPledges:
        """Return the roster of these pledges."""
        return cls(tuple(sorted(members, key=lambda member: member.participant.encode())))

    def check(self, terms: Terms, identities: Identities) -> None:
        """Return if everyone on it signed these terms with its pinned key, and there are enough.

        Raises: SecureSumError otherwise.
        """
        digest = terms.digest()
        for member in self.members:
            member.check(digest, identities)
        if len(self.members) < terms.rules.min_cohort:
            raise SecureSumError(
                f"{len(self.members)} participants are on the roster; min_cohort is {terms.rules.min_cohort}"
            )

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


@dataclass(frozen=True)
class KeyOpening:
    """One participant's public key share."""

    roster: bytes
    public: Blob = field(repr=False)

    KIND = 42

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((header(self.KIND), self.roster, self.public))

    @classmethod
    def decode(cls, data: Blob) -> KeyOpening:
        """Return what the bytes encode, or raise SecureSumError; the ring says how long a share must be."""
        reader = Reader(data, "a public key share")
        reader.header(cls.KIND)
        return cls(reader.take(DIGEST_BYTES), reader.rest())


@dataclass(frozen=True)
class Keys:
    """The public shares of all who showed theirs: the key holders of this sum, by place."""

    roster: bytes
    publics: Mapping[int, Blob] = field(repr=False)

    KIND = 43

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((header(self.KIND), self.roster, *_blobs(self.publics)))

    @classmethod
    def decode(cls, data: Blob) -> Keys:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "the public key shares")
        reader.header(cls.KIND)
        read = cls(reader.take(DIGEST_BYTES), _read_blobs(reader))
        reader.end()
        return read


@dataclass(frozen=True)
class VectorPledge:
    """The digest of a ciphertext's mask, signed together with roster and keys, before anyone's is seen."""

    digest: bytes
    signature: bytes

    KIND = 44

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.KIND) + self.digest + self.signature

    @classmethod
    def decode(cls, data: Blob) -> VectorPledge:
        """Return what the bytes encode, its signature unchecked, or raise SecureSumError."""
        reader = Reader(data, "a pledge of a ciphertext")
        reader.header(cls.KIND)
        read = cls(reader.take(DIGEST_BYTES), reader.take(SIGNATURE_BYTES))
        reader.end()
        return read


@dataclass(frozen=True)
class VectorPledges:
    """The pledges of all whose vectors are to be summed, by place."""

    pledges: Mapping[int, VectorPledge]

    KIND = 45

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        rows = (number(place, 4) + pledge.digest + pledge.signature for place, pledge in sorted(self.pledges.items()))
        return header(self.KIND) + number(len(self.pledges), 4) + b"".join(rows)

    @classmethod
    def decode(cls, data: Blob) -> VectorPledges:
        """Return what the bytes encode, signatures unchecked, or raise SecureSumError."""
        reader = Reader(data, "the pledges of ciphertexts")
        pledges = cls.read(reader)
        reader.end()
        return pledges

    @classmethod
    def read(cls, reader: Reader) -> VectorPledges:
        """Take pledges from the front of more bytes."""
        reader.header(cls.KIND)
        rows = [
            (reader.number(4), VectorPledge(reader.take(DIGEST_BYTES), reader.take(SIGNATURE_BYTES)))
            for _ in range(reader.entries(4 + DIGEST_BYTES + SIGNATURE_BYTES))
        ]
        reader.rising([place for place, _ in rows])
        return cls(dict(rows))


@dataclass(frozen=True)
class SentVector:
    """One participant's ciphertext, with its signature over the list of all that are to be summed, and a proof."""

    signature: bytes
    proof: Blob = field(repr=False)
    mask: Blob = field(repr=False)
    body: Blob = field(repr=False)

    KIND = 46

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        lengths = number(len(self.proof), 8), number(len(self.mask), 8)
        return b"".join((header(self.KIND), self.signature, *lengths, self.proof, self.mask, self.body))

    @classmethod
    def decode(cls, data: Blob) -> SentVector:
        """Return what the bytes encode, or raise SecureSumError; the parameters say how long its parts must be."""
        reader = Reader(data, "a ciphertext")
        reader.header(cls.KIND)
        signature, proof, mask = reader.take(SIGNATURE_BYTES), reader.number(8), reader.number(8)
        return cls(signature, reader.view(proof), reader.view(mask), reader.rest())


@dataclass(frozen=True)
class Evidence:
    """All that shows a sum of masks to be what everybody signed for: each checks it before it decrypts.

    signatures: over the list of pledges. masks: whole. proofs: of masks and key shares. All by place, of the same
        places as the pledges.
    """

    pledges: VectorPledges
    signatures: Mapping[int, bytes]
    masks: Mapping[int, Blob] = field(repr=False)
    proofs: Mapping[int, Blob] = field(repr=False)

    KIND = 47

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        signed = b"".join(signature for _, signature in sorted(self.signatures.items()))
        return b"".join((header(self.KIND), self.pledges.encode(), signed, *_blobs(self.masks), *_blobs(self.proofs)))

    @classmethod
    def decode(cls, data: Blob) -> Evidence:
        """Return what the bytes encode, or raise SecureSumError."""
        reader = Reader(data, "the evidence for a sum")
        reader.header(cls.KIND)
        pledges = VectorPledges.read(reader)
        signatures = {place: reader.take(SIGNATURE_BYTES) for place in pledges.pledges}
        masks, proofs = _read_blobs(reader), _read_blobs(reader)
        reader.end()
        if not masks.keys() == proofs.keys() == pledges.pledges.keys():
            raise reader.refusal("holds masks or proofs of others than signed for them")
        return cls(pledges, signatures, masks, proofs)


@dataclass(frozen=True)
class PartialDecryption:
    """One key holder's part of opening the sum that the statement names."""

    statement: bytes  # its digest
    part: Blob = field(repr=False)

    KIND = 48

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((header(self.KIND), self.statement, self.part))

    @classmethod
    def decode(cls, data: Blob) -> PartialDecryption:
        """Return what the bytes encode, or raise SecureSumError; the parameters say how long it must be."""
        reader = Reader(data, "a partial decryption")
        reader.header(cls.KIND)
        return cls(reader.take(DIGEST_BYTES), reader.rest())


def vector_statement(roster: bytes, keys_digest: bytes, digest: bytes) -> bytes:
    """Return what a participant signs of its own ciphertext."""
    return header(VectorPledge.KIND) + roster + keys_digest + digest


def proof_context(roster: bytes, keys_digest: bytes, participant: ParticipantId, digest: bytes) -> bytes:
    """Return what a participant's proof is for: nobody can show it as its own, or in another sum.

    The roster names the terms, which `a` is made of.
    """
    return header(SentVector.KIND) + roster + keys_digest + text(participant) + digest


def sum_statement(roster: bytes, keys_digest: bytes, pledges: VectorPledges) -> bytes:
    """Return what all whose vectors are to be summed sign: the roster, the keys, and whose ciphertexts these are.

    An honest participant signs one for a roster, so of two lists that are fully signed none holds it twice.
    """
    listed = indices(sorted(pledges.pledges)) + b"".join(one.digest for _, one in sorted(pledges.pledges.items()))
    return header(VectorPledges.KIND) + roster + keys_digest + sha256(listed).digest()


def _blobs(blobs: Mapping[int, Blob]) -> list[Blob]:
    """Return a list of blobs of any length, by place."""
    parts: list[Blob] = [number(len(blobs), 4)]
    for place in sorted(blobs):
        parts += [number(place, 4), number(len(blobs[place]), 8), blobs[place]]
    return parts


def _read_blobs(reader: Reader) -> Mapping[int, memoryview]:
    """Take such a list, without copies."""
    rows = [(reader.number(4), reader.view(reader.number(8))) for _ in range(reader.entries(12))]
    reader.rising([place for place, _ in rows])
    return dict(rows)
