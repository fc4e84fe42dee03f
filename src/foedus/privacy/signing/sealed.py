"""A round's updates sealed in one hash: whose they are and how many is shown to nobody, their senders excepted.

Where privacy rests on nobody seeing who takes part, the log must not tell. It holds a Merkle root over as many leaves
as there are participants, in an order drawn at random: salted hashes of signed updates, and random bytes for those who
are not in it. Whoever does not know a leaf's salt cannot tell the two apart, as far as SHA-256 is a random function.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from foedus.federation.messages import ParticipantId
from foedus.privacy.signing.merkle import MerkleTree, check_inclusion, leaf_hash
from foedus.privacy.signing.statements import Count, Hash, RoundResult, Signed, written

SALT_BYTES = 32


class Opening(BaseModel):
    """What shows one participant that its update is among those sealed: the salt and the path from its leaf."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    salt: Hash
    place: Count
    path: list[Hash]


@dataclass(frozen=True)
class Seal:
    """A sealed round. openings: of each participant that is in it, for itself alone."""

    root: str
    openings: Mapping[ParticipantId, Opening]


def seal(updates: Mapping[ParticipantId, Signed], participants: int) -> Seal:
    """Return the seal over these updates among so many participants."""
    places = list(range(participants))
    secrets.SystemRandom().shuffle(places)
    leaves = [secrets.token_bytes(SALT_BYTES) for _ in range(participants)]
    chosen = {name: (place, secrets.token_bytes(SALT_BYTES)) for name, place in zip(updates, places, strict=False)}
    for name, (place, salt) in chosen.items():
        leaves[place] = _leaf(updates[name], salt)
    tree = MerkleTree(leaves)
    openings = {
        name: Opening(salt=salt.hex(), place=place, path=[each.hex() for each in tree.inclusion(place)])
        for name, (place, salt) in chosen.items()
    }
    return Seal(tree.root().hex(), openings)


def check_opening(update: Signed, opening: Opening, result: RoundResult, participants: int) -> None:
    """Return if the update is among those that the round's result seals.

    Raises: SignatureError if it is not.
    """
    leaf, path = _leaf(update, bytes.fromhex(opening.salt)), [bytes.fromhex(each) for each in opening.path]
    root = bytes.fromhex(result.sealed) if result.sealed is not None else b""
    check_inclusion(leaf, opening.place, participants, path, root)


def _leaf(update: Signed, salt: bytes) -> bytes:
    return leaf_hash(salt + written(update))
