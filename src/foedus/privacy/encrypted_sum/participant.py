"""A participant's side of one encrypted sum: messages in, messages out, and every check before each answer.

All participants hold the key and the coordinator does not. So whoever of them sides with the coordinator opens
everybody's vector: where that is to be feared, use masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum import coefficients, slots
from foedus.privacy.encrypted_sum.messages import EncryptedVector, OpenedSum, SealedSeeds, SeedDelivery, SumToOpen
from foedus.privacy.encrypted_sum.parameters import Parameters
from foedus.privacy.encrypted_sum.secrets import SumSecrets
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.masks import Vector
from foedus.privacy.secure_sum.messages import Confirmation, SurvivorList
from foedus.privacy.secure_sum.participant import (
    Member,
    Participation,
    Standing,
    accept_agreement,
    accept_roster,
    accept_survivors,
    enter,
)
from foedus.privacy.secure_sum.roster import Roster
from foedus.privacy.secure_sum.terms import Terms


def take_part_encrypted(
    member: Member, terms: Terms, invitation: bytes, vector: Vector, entropy: Entropy, *, parameters: Parameters
) -> Participation:
    """Yield this participant's answers to the coordinator's four messages, or five if it is asked to open the sum.

    terms: what the participant itself knows the sum to be of. vector: its words; they are not changed.
    Guarantee: as long as no participant sides with it, all that the coordinator learns of the vector is in the
        sum over survivors whom more than half of one signed roster signed, min_cohort of them at least. Which
        messages come, in which order, how often, and from whom, is its choice; so are the ciphertexts, but
        what is opened is the sum of exactly those that the survivors sent (`linear_check`).
    Raises: SecureSumError for a message that breaks the rules; MissingExtra. The participation is then over, as
        it is after the last answer: no secret is used again.
    """
    own_keys, advertisement = enter(member, terms, invitation, vector, entropy)

    now = accept_roster(member, terms, advertisement, own_keys, Roster.decode((yield advertisement.encode())))
    if len(now.roster.names) > parameters.participants:
        raise SecureSumError(
            f"{len(now.roster.names)} participants are on the roster; the encryption is for {parameters.participants}"
        )

    delivery = SeedDelivery.decode((yield SealedSeeds(now.roster.digest, _sealed(now)).encode()))
    secrets = SumSecrets.of(parameters, now.roster.digest, delivery.sharers, _accept_seeds(now, delivery))
    key = secrets.key()
    encrypted = key.encrypt(slots.pack(vector, terms.layout, parameters))
    tag, count = secrets.tag(encrypted, member.name), len(encrypted)
    message = EncryptedVector(now.roster.digest, tag, coefficients.to_bytes(encrypted, parameters)).encode()
    del encrypted

    listed = SurvivorList.decode((yield message))
    del message
    statement = accept_survivors(now, delivery.sharers, listed)
    signature = keys.signature_of(member.identity, statement)

    question = SumToOpen.decode((yield Confirmation(signature).encode()))
    accept_agreement(now, listed.survivors, statement, question.agreement)
    summed = coefficients.from_bytes(question.words, count, parameters)
    secrets.check(summed, question.tag, [now.roster.names[index] for index in listed.survivors])
    member.record_once({_opening_name(terms): sha256(statement).digest()})
    total = slots.unpack(key.decrypt(summed), terms.layout, parameters)
    yield OpenedSum(now.roster.digest, terms.layout.to_bytes(total)).encode()


def _opening_name(terms: Terms) -> str:
    """Return the name under which this participant's one decryption of a sum is recorded."""
    return f"opening {terms.task!r} {terms.run!r} {terms.round} {terms.purpose!r}"


def _sealed(now: Standing) -> Mapping[int, bytes]:
    """Return this participant's seed, sealed for each of the others."""
    name, digest = now.member.name, now.roster.digest
    return {
        index: keys.seal(now.channel(index), digest, (name, other), now.keys.seed)
        for index, other in enumerate(now.roster.names)
        if index != now.own
    }


def _accept_seeds(now: Standing, delivery: SeedDelivery) -> Mapping[int, bytes]:
    """Return the seed of each who shared it; each is the one that its owner signed a commitment to."""
    if delivery.roster != now.roster.digest:
        raise SecureSumError("seeds of another roster were delivered")
    now.needs(delivery.sharers, range(len(now.roster.names)), "shared their seeds")
    if delivery.sealed.keys() != set(delivery.sharers) - {now.own}:
        raise SecureSumError("not exactly the seeds of those were delivered who are said to have shared theirs")
    names, digest = now.roster.names, now.roster.digest
    seeds = {now.own: now.keys.seed}
    for source, sealed in delivery.sealed.items():
        seeds[source] = keys.unseal(now.channel(source), digest, (names[source], now.member.name), sealed)
        if keys.commitment(seeds[source]) != now.roster.members[source].seed_commitment:
            raise SecureSumError(f"the seed that {names[source]} sealed is not the one that it committed to")
    return seeds
