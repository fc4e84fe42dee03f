"""The coordinator's side of one secure sum: it passes messages on, adds masked vectors, and opens their sum.

It keeps one vector, whatever the number of participants.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.exchanges import Answer, Cohort, Incoming, Outcome, Outgoing, Summation
from foedus.privacy.secure_sum.field import SHARES
from foedus.privacy.secure_sum.graph import Shape, shape
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.masks import Vector, add_masks_in_place, add_vector_in_place
from foedus.privacy.secure_sum.messages import (
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
from foedus.privacy.secure_sum.shamir import combine
from foedus.privacy.secure_sum.terms import Terms


@dataclass(frozen=True)
class _Sharing:
    """Where a sum stands once secrets are shared: places on the roster, and what each sealed for whom."""

    roster: Roster
    shape: Shape
    sealed: Mapping[int, Mapping[int, bytes]]

    @property
    def sharers(self) -> tuple[int, ...]:
        return tuple(sorted(self.sealed))

    def place(self, name: ParticipantId) -> int:
        return self.roster.places[name]

    def name(self, place: int) -> ParticipantId:
        return self.roster.names[place]


def sum_securely(terms: Terms, cohort: Sequence[ParticipantId], identities: Identities) -> Summation:
    """Return the sum of the vectors of all who stay long enough; it cannot be opened further.

    Who vanishes before it has sent its masked vector is not in the sum; who vanishes after that is.
    With fewer than the rules say, in any phase, there is no sum, and the outcome says why.
    """
    running = Cohort(tuple(cohort))
    known: Shape | None = None
    try:
        roster = yield from advertise(running, terms, identities)
        known = shape(len(roster.members), terms.rules)
        sharing = yield from _exchange_shares(running, roster, known)
        total, survivors = yield from _gather(running, terms, sharing)
        confirmed, agreement = yield from confirm(
            running, roster, sharing.sharers, survivors, needed=known.survivors_needed, identities=identities
        )
        opened = yield from _open(running, sharing, survivors, dict.fromkeys(confirmed, agreement.encode()))
        _unmask(total, sharing, opened)
    except SecureSumError as error:
        return Outcome(None, (), dict(running.left_out), str(error), known)
    names = tuple(roster.names[index] for index in survivors)
    left_out = {name: why for name, why in running.left_out.items() if name not in set(names)}
    return Outcome(total, names, left_out, None, known)


def enough(count: int, needed: int, what: str) -> None:
    """Return if so many are enough.

    Raises: SecureSumError otherwise.
    """
    if count < needed:
        raise SecureSumError(f"{count} participants {what}; the threshold is {needed}")


def advertise(running: Cohort, terms: Terms, identities: Identities) -> Generator[Outgoing | None, Incoming, Roster]:
    """Invite the cohort and return the roster of those who signed the terms.

    Raises: SecureSumError if they are too few.
    """
    shown: dict[ParticipantId, Advertisement] = {}
    digest = terms.digest()

    def accept(sender: ParticipantId, answer: Answer) -> None:
        advertisement = Advertisement.decode(answer)
        if advertisement.participant != sender:
            raise SecureSumError(f"it showed the keys of {advertisement.participant}")
        advertisement.check(digest, identities)
        shown[sender] = advertisement

    yield from running.phase(dict.fromkeys(running.names, terms.encode()), accept)
    roster = Roster.of(list(shown.values()))
    roster.check(terms, identities)
    return roster


def _exchange_shares(running: Cohort, roster: Roster, known: Shape) -> Generator[Outgoing | None, Incoming, _Sharing]:
    sealed: dict[int, Mapping[int, bytes]] = {}

    def accept(sender: ParticipantId, answer: Answer) -> None:
        shares = SealedShares.decode(answer)
        own = roster.places[sender]
        if shares.roster != roster.digest:
            raise SecureSumError("it shared its secrets for another roster")
        if len(shares.sealed) != known.neighbours or not shares.sealed.keys() <= set(range(len(roster.names))) - {own}:
            raise SecureSumError(f"it shared its secrets with others than {known.neighbours} on the roster")
        sealed[own] = shares.sealed

    yield from running.phase(dict.fromkeys(roster.names, roster.encode()), accept)
    enough(len(sealed), known.survivors_needed, "shared their secrets")
    return _Sharing(roster, known, sealed)


def _gather(
    running: Cohort, terms: Terms, sharing: _Sharing
) -> Generator[Outgoing | None, Incoming, tuple[Vector, tuple[int, ...]]]:
    """Return the sum of masked vectors, and the places of those who sent one."""
    total, roster = terms.layout.zeros(), sharing.roster.digest
    inboxes: dict[int, dict[int, bytes]] = {holder: {} for holder in sharing.sharers}
    for source, sealed in sharing.sealed.items():
        for holder in sealed.keys() & inboxes.keys():
            inboxes[holder][source] = sealed[holder]

    def accept(_: ParticipantId, answer: Answer) -> None:
        masked = MaskedVector.decode(answer)
        if masked.roster != roster:
            raise SecureSumError("it masked a vector for another roster")
        add_vector_in_place(total, terms.layout.from_bytes(masked.words))

    deliveries = {
        sharing.name(holder): Delivery(roster, sharing.sharers, inbox).encode() for holder, inbox in inboxes.items()
    }
    present = yield from running.phase(deliveries, accept)
    enough(len(present), sharing.shape.survivors_needed, "sent a masked vector")
    return total, tuple(sorted(map(sharing.place, present)))


def confirm(
    running: Cohort,
    roster: Roster,
    sharers: tuple[int, ...],
    survivors: tuple[int, ...],
    *,
    needed: int,
    identities: Identities,
) -> Generator[Outgoing | None, Incoming, tuple[Sequence[ParticipantId], Agreement]]:
    """Let the survivors sign who shared and who they are; return who did, and all signatures.

    Raises: SecureSumError if they are fewer than needed.
    """
    statement = survivors_statement(roster.digest, sharers, survivors)
    signatures: dict[int, bytes] = {}

    def accept(sender: ParticipantId, answer: Answer) -> None:
        signature = Confirmation.decode(answer).signature
        keys.verify(identities[sender], signature, statement, f"the list of survivors of {sender}")
        signatures[roster.places[sender]] = signature

    listed = SurvivorList(roster.digest, survivors).encode()
    confirmed = yield from running.phase({roster.names[index]: listed for index in survivors}, accept)
    enough(len(confirmed), needed, "signed the list of survivors")
    return confirmed, Agreement(signatures)


@dataclass(frozen=True)
class _Opened:
    """The secrets that were opened, by place: one of each participant's two."""

    seeds: Mapping[int, bytes] = field(repr=False)
    mask_keys: Mapping[int, bytes] = field(repr=False)


def _open(
    running: Cohort, sharing: _Sharing, survivors: tuple[int, ...], messages: Outgoing
) -> Generator[Outgoing | None, Incoming, _Opened]:
    """Open the survivors' seeds, and the mask keys of those who vanished."""
    alive = set(survivors)
    kinds = {owner: ShareKind.SEED if owner in alive else ShareKind.MASK_KEY for owner in sharing.sharers}
    shares: dict[int, dict[int, int]] = {owner: {} for owner in sharing.sharers}

    def accept(sender: ParticipantId, answer: Answer) -> None:
        holder, opening = sharing.place(sender), Opening.decode(answer)
        for owner, (kind, _) in opening.shares.items():
            if kinds.get(owner) != kind or not (owner == holder or holder in sharing.sealed[owner]):
                raise SecureSumError("it opened a share that it does not hold, or that was not asked for")
        for owner, (_, share) in opening.shares.items():
            shares[owner][holder + 1] = share

    yield from running.phase(messages, accept)
    secrets = {owner: _secret(sharing, kinds[owner], owner, held) for owner, held in shares.items()}
    return _Opened(
        {owner: secret for owner, secret in secrets.items() if owner in alive},
        {owner: secret for owner, secret in secrets.items() if owner not in alive},
    )


def _secret(sharing: _Sharing, kind: ShareKind, owner: int, shares: Mapping[int, int]) -> bytes:
    """Return a secret and know that it is the right one: what its owner showed at the start says so."""
    member, needed = sharing.roster.members[owner], sharing.shape.share_threshold
    if len(shares) < needed:
        raise SecureSumError(f"{len(shares)} holders opened a share of {member.participant}'s; {needed} must")
    secret = combine(shares, needed, SHARES)
    if secret < 1 << (8 * keys.KEY_BYTES):
        encoded = secret.to_bytes(keys.KEY_BYTES, "big")
        if kind is ShareKind.SEED and keys.commitment(encoded) == member.seed_commitment:
            return encoded
        if kind is ShareKind.MASK_KEY and keys.public_key(encoded) == member.mask_key:
            return encoded
    raise SecureSumError(f"the shares of {member.participant}'s secret do not fit together; one of them is wrong")


def _unmask(total: Vector, sharing: _Sharing, opened: _Opened) -> None:
    """Take away the survivors' own masks, and the masks between survivors and those who vanished."""
    roster, sealed = sharing.roster, sharing.sealed
    added: list[bytes] = []
    taken = [keys.own_mask_key(seed, roster.digest, sharing.name(place)) for place, seed in opened.seeds.items()]
    for gone, mask_key in opened.mask_keys.items():
        side = X25519PrivateKey.from_private_bytes(mask_key)
        for place in opened.seeds:
            if place in sealed[gone] or gone in sealed[place]:
                secret = keys.agreed(side, roster.members[place].mask_key)
                key = keys.pair_mask_key(secret, roster.digest, sharing.name(gone), sharing.name(place))
                (taken if place < gone else added).append(key)
    add_masks_in_place(total, added, taken)
