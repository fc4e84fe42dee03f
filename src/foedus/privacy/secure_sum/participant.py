"""A participant's side of one secure sum: messages in, messages out, and every check before each answer.

Source: Bonawitz et al. 2017, ePrint 2017/281, figure 4 (active adversaries); neighbours of Bell et al. 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.field import SHARES
from foedus.privacy.secure_sum.graph import Shape, pick, shape
from foedus.privacy.secure_sum.keys import Identities, RoundKeys
from foedus.privacy.secure_sum.masks import Layout, Vector, add_masks_in_place
from foedus.privacy.secure_sum.messages import (
    SHARE_BYTES,
    Agreement,
    Confirmation,
    Delivery,
    MaskedVector,
    Opening,
    SealedShares,
    ShareKind,
    SurvivorList,
)
from foedus.privacy.secure_sum.roster import Advertisement, Roster, survivors_statement
from foedus.privacy.secure_sum.shamir import split
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.signing.identity import Identity

# Writes durably, before it returns, that under each name stands that value; all of them or none.
# Raises SecureSumError if anything stands under one of the names already, be it the same value.
RecordOnce = Callable[[Mapping[str, bytes]], None]

# Why a participant stays out of a sum that it took part in before; the coordinator knows an interrupted round by it.
ANSWERED_BEFORE = "this participant has given its answer for this round before, and gives one only"

# Made by take_part: yields answers, is sent the coordinator's messages.
Participation = Generator[bytes | memoryview, bytes, None]


@dataclass(frozen=True)
class Member:
    """A participant as the protocol knows it.

    identities: the pinned public keys of all participants. record_once: its memory over crashes.
    """

    name: ParticipantId
    identity: Identity
    identities: Identities
    record_once: RecordOnce


@dataclass(frozen=True)
class Standing:
    """What a participant knows once the roster stands.

    needed: how many of the roster must stay. own: this participant's place on it.
    """

    member: Member
    roster: Roster
    needed: int
    own: int
    keys: RoundKeys
    _channels: dict[int, bytes] = field(default_factory=dict, repr=False)

    def channel(self, other: int) -> bytes:
        """Return what the channel keys of both sides agree on."""
        if other not in self._channels:
            public = self.roster.members[other].channel_key
            self._channels[other] = keys.agreed(self.keys.channel_side, public)
        return self._channels[other]

    def needs(self, indices: Sequence[int], of: Sequence[int], what: str) -> None:
        """Refuse a set of participants that is too small, leaves this one out, or holds strangers."""
        if len(indices) < self.needed:
            raise SecureSumError(f"{len(indices)} participants {what}; {self.needed} must")
        if self.own not in indices:
            raise SecureSumError(f"this participant {what}, but the coordinator leaves it out")
        if not set(indices) <= set(of):
            raise SecureSumError(f"one who is said to have {what} cannot have")


def take_part(
    member: Member,
    terms: Terms,
    invitation: bytes,
    vector: Vector,
    entropy: Entropy,
    *,
    memory: NDArray[np.uint8] | None = None,
) -> Participation:
    """Yield this participant's answers to the coordinator's five messages, the first of which is the invitation.

    terms: what the participant itself knows the sum to be of. vector: its words; they are not changed,
        unless they lie in memory that is given too: that of MaskedVector.blank, which is then sent itself.
    Guarantee: as long as fewer than the stated number collude with the coordinator, all that they and it
        learn of the vector is in the sum over all honest survivors of one signed roster. Which messages
        come, in which order, how often, and from whom, is the coordinator's choice.
    Raises: SecureSumError for a message that breaks the rules. The participation is then over, as it is
        after the last answer: no secret is used again.
    """
    own_keys, advertisement = enter(member, terms, invitation, vector, entropy)

    now = accept_roster(member, terms, advertisement, own_keys, Roster.decode((yield advertisement.encode())))
    known = shape(len(now.roster.members), terms.rules)
    picks = pick(now.own, known, entropy)
    sealed, own_share = _share(now, known, picks, entropy)

    delivery = Delivery.decode((yield SealedShares(now.roster.digest, sealed).encode()))
    held = _accept_delivery(now, delivery)
    masked = _masked(now, terms.layout, (set(picks) | held.keys()) & set(delivery.sharers), vector, memory)

    listed = SurvivorList.decode((yield masked))
    del masked
    statement = accept_survivors(now, delivery.sharers, listed)
    signature = keys.signature_of(member.identity, statement)

    agreement = Agreement.decode((yield Confirmation(signature).encode()))
    accept_agreement(now, listed.survivors, statement, agreement)
    opened = _opened({**held, now.own: own_share}, listed.survivors)
    names = now.roster.names
    member.record_once(
        {f"share {now.roster.digest.hex()} {names[owner]}": kind.name.encode() for owner, (kind, _) in opened.items()}
    )
    yield Opening(opened).encode()


def enter(
    member: Member, terms: Terms, invitation: bytes, vector: Vector, entropy: Entropy
) -> tuple[RoundKeys, Advertisement]:
    """Return new keys and what shows them, once this participant's one answer to such terms is on record.

    Raises: SecureSumError if the invitation is to other terms, or such an answer was given before.
    """
    terms.must_equal(Terms.decode(invitation))
    terms.layout.check(vector)
    if member.identities.get(member.name) != member.identity.public:
        raise SecureSumError(f"the key pinned for {member.name} is not its own; pin the key that it signs with")
    own_keys = RoundKeys.create(entropy)
    advertisement = Advertisement.signed(terms, member.name, own_keys, member.identity)
    member.record_once({answer_name(terms): sha256(advertisement.encode()).digest()})
    return own_keys, advertisement


def answer_name(terms: Terms) -> str:
    """Return the name under which a participant's one answer is recorded: whatever the terms say beside it."""
    return f"answer {terms.task!r} {terms.run!r} {terms.round} {terms.purpose!r}"


def accept_roster(
    member: Member, terms: Terms, advertisement: Advertisement, own_keys: RoundKeys, roster: Roster
) -> Standing:
    """Return where this participant stands, once everyone on the roster signed the terms and it is on it itself.

    Raises: SecureSumError otherwise.
    """
    roster.check(terms, member.identities)
    if advertisement not in roster.members:
        raise SecureSumError(f"the roster does not hold what {member.name} showed in this round")
    own = roster.members.index(advertisement)
    return Standing(member, roster, terms.rules.survivors_needed(len(roster.members)), own, own_keys)


def _share(now: Standing, known: Shape, picks: Sequence[int], entropy: Entropy) -> tuple[Mapping[int, bytes], bytes]:
    """Return a sealed pair of shares for each pick, and the pair that stays here."""
    points = [index + 1 for index in sorted({*picks, now.own})]
    shares = [
        split(int.from_bytes(secret, "big"), known.share_threshold, points, SHARES, entropy)
        for secret in (now.keys.mask, now.keys.seed)
    ]
    plain = {point - 1: b"".join(SHARES.encode(share[point]) for share in shares) for point in points}
    names, digest = now.roster.names, now.roster.digest
    sealed = {
        index: keys.seal(now.channel(index), digest, (now.member.name, names[index]), plain[index]) for index in picks
    }
    return sealed, plain[now.own]


def _accept_delivery(now: Standing, delivery: Delivery) -> Mapping[int, bytes]:
    """Return the pairs of shares that this participant holds, by owner."""
    if delivery.roster != now.roster.digest:
        raise SecureSumError("shares of another roster were delivered")
    now.needs(delivery.sharers, range(len(now.roster.members)), "shared their secrets")
    if not delivery.sealed.keys() <= set(delivery.sharers) - {now.own}:
        raise SecureSumError("shares were delivered from one who is not said to have shared")
    names, digest = now.roster.names, now.roster.digest
    return {
        source: keys.unseal(now.channel(source), digest, (names[source], now.member.name), sealed)
        for source, sealed in delivery.sealed.items()
    }


def _masked(
    now: Standing, layout: Layout, neighbours: set[int], vector: Vector, memory: NDArray[np.uint8] | None
) -> memoryview:
    """Return the message with the vector under this participant's own mask and one with each of the neighbours.

    It is made where it is sent from: a copy of a large vector takes as long as several masks.
    """
    name, names, roster = now.member.name, now.roster.names, now.roster
    pairs = {
        other: keys.pair_mask_key(
            keys.agreed(now.keys.mask_side, roster.members[other].mask_key), roster.digest, name, names[other]
        )
        for other in sorted(neighbours)
    }
    message = MaskedVector.blank(layout)[0] if memory is None else memory
    message[: MaskedVector.OFFSET] = np.frombuffer(MaskedVector.frame(roster.digest), dtype=np.uint8)
    add_masks_in_place(
        layout.from_bytes(message[MaskedVector.OFFSET :].data),
        added=[
            keys.own_mask_key(now.keys.seed, roster.digest, name),
            *(key for other, key in pairs.items() if now.own < other),
        ],
        taken=[key for other, key in pairs.items() if now.own > other],
        start=vector,
    )
    return message.data


def accept_survivors(now: Standing, sharers: Sequence[int], listed: SurvivorList) -> bytes:
    """Return the statement to sign.

    Raises: SecureSumError if the list is of another roster, too short, or leaves this participant out.
    """
    if listed.roster != now.roster.digest:
        raise SecureSumError("the list of survivors is of another roster")
    now.needs(listed.survivors, sharers, "sent a vector")
    return survivors_statement(now.roster.digest, sharers, listed.survivors)


def accept_agreement(now: Standing, survivors: Sequence[int], statement: bytes, agreement: Agreement) -> None:
    """Return if enough of the survivors signed the statement that this participant signed too.

    Raises: SecureSumError otherwise.
    """
    now.needs(list(agreement.signatures), survivors, "signed the list of survivors")
    for signer, signature in agreement.signatures.items():
        name = now.roster.names[signer]
        keys.verify(now.member.identities[name], signature, statement, f"the list of survivors of {name}")


def _opened(held: Mapping[int, bytes], survivors: Sequence[int]) -> Mapping[int, tuple[ShareKind, int]]:
    """Return one share for each owner: of its seed if it survived, else of its mask key."""
    alive, opened = set(survivors), {}
    for owner in sorted(held):
        of_mask_key, of_seed = held[owner][:SHARE_BYTES], held[owner][SHARE_BYTES:]
        kind = ShareKind.SEED if owner in alive else ShareKind.MASK_KEY
        opened[owner] = kind, SHARES.decode(of_seed if kind is ShareKind.SEED else of_mask_key)
    return opened
