"""The coordinator's side of one encrypted sum: it adds ciphertexts without any key, and lets one survivor open the sum.

It needs no encryption library: ciphertexts are numbers modulo a prime. It keeps one sum of them, whatever the
number of participants.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from foedus.core.errors import SecureSumError
from foedus.federation.messages import ParticipantId
from foedus.privacy.encrypted_sum import coefficients, slots
from foedus.privacy.encrypted_sum.coefficients import Coefficients
from foedus.privacy.encrypted_sum.messages import EncryptedVector, OpenedSum, SealedSeeds, SeedDelivery, SumToOpen
from foedus.privacy.encrypted_sum.parameters import Parameters
from foedus.privacy.secure_sum.coordinator import advertise, confirm, enough
from foedus.privacy.secure_sum.exchanges import Answer, Cohort, Incoming, Outcome, Outgoing, Summation
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.masks import Layout, Vector
from foedus.privacy.secure_sum.roster import Roster
from foedus.privacy.secure_sum.terms import Terms


@dataclass
class _Gathered:
    """Who sent a vector, and the sums of ciphertexts and of tags."""

    ciphertexts: Coefficients
    tag: int = 0
    survivors: tuple[int, ...] = ()
    sharers: tuple[int, ...] = ()


def sum_encrypted(
    terms: Terms, cohort: Sequence[ParticipantId], identities: Identities, parameters: Parameters
) -> Summation:
    """Return the sum of the vectors of all who sent one, as one of them opened it.

    Who vanishes before it has sent its vector is not in the sum; who vanishes after that is. If one that is asked
    to open the sum does not, the next is asked. With fewer than the rules say, in any phase, there is no sum,
    and the outcome says why. That the one who opens the sum tells the truth is not checked.
    """
    running = Cohort(tuple(cohort))
    try:
        roster = yield from advertise(running, terms, identities)
        needed = terms.rules.survivors_needed(len(roster.members))
        deliveries = yield from _share_seeds(running, roster, needed)
        gathered = yield from _gather(running, terms, parameters, roster, deliveries)
        enough(len(gathered.survivors), needed, "sent an encrypted vector")
        confirmed, agreement = yield from confirm(
            running, roster, gathered.sharers, gathered.survivors, needed=needed, identities=identities
        )
        words = coefficients.to_bytes(gathered.ciphertexts, parameters)
        question = SumToOpen(agreement, gathered.tag, words).encode()
        total = yield from _open(running, terms.layout, roster, confirmed, question)
    except SecureSumError as error:
        return Outcome(None, (), dict(running.left_out), str(error))
    names = tuple(roster.names[index] for index in gathered.survivors)
    left_out = {name: why for name, why in running.left_out.items() if name not in set(names)}
    return Outcome(total, names, left_out, None)


def _share_seeds(
    running: Cohort, roster: Roster, needed: int
) -> Generator[Outgoing | None, Incoming, Mapping[ParticipantId, SeedDelivery]]:
    """Return, for each who shared its seed, what the others sealed for it."""
    sealed: dict[int, Mapping[int, bytes]] = {}
    everybody = set(range(len(roster.names)))

    def accept(sender: ParticipantId, answer: Answer) -> None:
        seeds = SealedSeeds.decode(answer)
        own = roster.places[sender]
        if seeds.roster != roster.digest:
            raise SecureSumError("it sealed its seed for another roster")
        if seeds.sealed.keys() != everybody - {own}:
            raise SecureSumError("it sealed its seed for others than all on the roster")
        sealed[own] = seeds.sealed

    yield from running.phase(dict.fromkeys(roster.names, roster.encode()), accept)
    enough(len(sealed), needed, "shared their seeds")
    sharers = tuple(sorted(sealed))
    return {
        roster.names[holder]: SeedDelivery(
            roster.digest, sharers, {source: sealed[source][holder] for source in sharers if source != holder}
        )
        for holder in sharers
    }


def _gather(
    running: Cohort,
    terms: Terms,
    parameters: Parameters,
    roster: Roster,
    deliveries: Mapping[ParticipantId, SeedDelivery],
) -> Generator[Outgoing | None, Incoming, _Gathered]:
    """Return the sum of encrypted vectors, and the places of those who sent one."""
    count = slots.ciphertexts_of(terms.layout, parameters)
    gathered = _Gathered(coefficients.zeros(count))

    def accept(_: ParticipantId, answer: Answer) -> None:
        encrypted = EncryptedVector.decode(answer)
        if encrypted.roster != roster.digest:
            raise SecureSumError("it encrypted a vector for another roster")
        if encrypted.tag >= parameters.modulus:
            raise SecureSumError("its tag is not below the modulus")
        more = coefficients.from_bytes(encrypted.words, count, parameters)
        coefficients.add_in_place(gathered.ciphertexts, more, parameters)
        gathered.tag = (gathered.tag + encrypted.tag) % parameters.modulus

    present = yield from running.phase({name: one.encode() for name, one in deliveries.items()}, accept)
    gathered.survivors = tuple(sorted(roster.places[name] for name in present))
    gathered.sharers = tuple(sorted(roster.places[name] for name in deliveries))
    return gathered


def _open(
    running: Cohort, layout: Layout, roster: Roster, confirmed: Sequence[ParticipantId], question: bytes
) -> Generator[Outgoing | None, Incoming, Vector]:
    """Return the sum as the first of the survivors who answers well opens it; each round begins with another."""
    opened: list[Vector] = []

    def accept(_: ParticipantId, answer: Answer) -> None:
        summed = OpenedSum.decode(answer)
        if summed.roster != roster.digest:
            raise SecureSumError("it opened the sum of another roster")
        opened.append(layout.from_bytes(summed.words))

    first = roster.digest[0] % len(confirmed)
    for name in (*confirmed[first:], *confirmed[:first]):
        yield from running.phase({name: question}, accept)
        if opened:
            return opened[0]
    raise SecureSumError(f"none of {len(confirmed)} survivors opened the sum")
