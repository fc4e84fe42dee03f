"""A participant's side of one threshold sum: messages in, messages out, and every check before each answer.

EXPERIMENTAL: not reviewed by an outside cryptographer.

Before it decrypts, a participant adds up the masks of all ciphertexts itself: those whose hashes their senders
signed before they saw any other. So the coordinator cannot have a single ciphertext opened, or one twice, or one
of another round, and who sends cannot make its ciphertext of another's. That costs a download of all masks, and no
assumption but SHA-256's. A keyed linear hash of the masks, which each would announce for its own, needs less of
both, but one participant that announces a false value for the coordinator's sake makes it say anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.masks import Vector
from foedus.privacy.secure_sum.participant import Member, Participation, answer_name
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.secure_sum.wire import header
from foedus.privacy.threshold.messages import (
    Evidence,
    KeyOpening,
    KeyPledge,
    KeyPledges,
    Keys,
    PartialDecryption,
    SentVector,
    VectorPledge,
    VectorPledges,
    commitment,
    sum_statement,
    vector_statement,
)
from foedus.privacy.threshold.parameters import Parameters, choose
from foedus.privacy.threshold.ring import RING, Ring
from foedus.privacy.threshold.scheme import (
    RunningRows,
    create_key_share,
    encrypt,
    joint_key,
    partially_decrypt,
)


@dataclass(frozen=True)
class _Standing:
    """What a participant knows once the roster and then the keys stand. keys: the digest of that message."""

    member: Member
    terms: Terms
    roster: KeyPledges
    keys: bytes = b""
    holders: frozenset[int] = frozenset()

    @property
    def own(self) -> int:
        return self.roster.places[self.member.name]


def take_part(
    member: Member, terms: Terms, invitation: bytes, vector: Vector, entropy: Entropy, *, ring: Ring = RING
) -> Participation:
    """Yield this participant's answers to the coordinator's five messages, the first of which is the invitation.

    terms: what the participant itself knows the sum to be of. vector: its words; they are not changed.
    ring: any but RING is for tests and protects nobody.
    Guarantee: as `scheme` states it, whatever the coordinator sends. The key share serves this one sum; its one
        partial decryption is recorded before it leaves.
    Raises: SecureSumError for a message that breaks the rules. The participation is then over, as it is after
        the last answer: no secret is used again.
    """
    terms.must_equal(Terms.decode(invitation))
    terms.layout.check(vector)
    if member.identities.get(member.name) != member.identity.public:
        raise SecureSumError(f"the key pinned for {member.name} is not its own; pin the key that it signs with")
    share = create_key_share(ring, terms.digest(), entropy)
    key_pledge = KeyPledge.signed(terms, member.name, share.public, member.identity)
    member.record_once({answer_name(terms): sha256(key_pledge.encode()).digest()})

    now = _accept_roster(member, terms, key_pledge, KeyPledges.decode((yield key_pledge.encode())))
    message = yield KeyOpening(now.roster.digest, share.public).encode()
    shown = Keys.decode(message)
    now = _accept_keys(now, shown, message, share.public)
    parameters = choose(terms.layout, len(shown.publics), ring)
    key = joint_key(ring, terms.digest(), list(shown.publics.values()))
    ciphertext = encrypt(vector, parameters, key, entropy)
    del message, shown, key

    digest = sha256(ciphertext.mask).digest()
    signature = keys.signature_of(member.identity, vector_statement(now.roster.digest, now.keys, digest))
    pledge, signed = VectorPledge(digest, signature), None
    message = yield pledge.encode()
    if message.startswith(header(VectorPledges.KIND)):
        signed = _accept_pledges(now, VectorPledges.decode(message))
        signature = keys.signature_of(member.identity, signed)
        message = yield SentVector(signature, ciphertext.mask, ciphertext.body).encode()
    del ciphertext

    statement, total = _accept_evidence(now, pledge, signed, Evidence.decode(message), parameters)
    del message
    named = sha256(statement).digest()
    member.record_once({f"partial decryption {answer_name(terms)}": named})
    yield PartialDecryption(named, partially_decrypt(total, share, parameters, entropy)).encode()


def _accept_roster(member: Member, terms: Terms, own: KeyPledge, roster: KeyPledges) -> _Standing:
    roster.check(terms, member.identities)
    if own not in roster.members:
        raise SecureSumError(f"the roster does not hold what {member.name} pledged in this round")
    return _Standing(member, terms, roster)


def _accept_keys(now: _Standing, shown: Keys, message: bytes, own: bytes) -> _Standing:
    """Go on if every share is the one that was committed to, and there are enough."""
    if shown.roster != now.roster.digest:
        raise SecureSumError("public key shares of another roster came")
    _needs(now, shown.publics, range(len(now.roster.members)), "show a key share")
    if shown.publics.get(now.own) != own:
        raise SecureSumError("this participant showed its key share, but the coordinator leaves it out")
    for place, public in shown.publics.items():
        pledged = now.roster.members[place]
        if commitment(pledged.terms, pledged.participant, public) != pledged.commitment:
            raise SecureSumError(f"{pledged.participant} shows another key share than it committed to")
    return _Standing(now.member, now.terms, now.roster, sha256(message).digest(), frozenset(shown.publics))


def _accept_pledges(now: _Standing, listed: VectorPledges) -> bytes:
    """Return the statement to sign: that these, which their senders signed one by one, are to be summed."""
    _needs(now, listed.pledges, now.holders, "send a vector")
    for place, pledge in listed.pledges.items():
        name = now.roster.names[place]
        statement = vector_statement(now.roster.digest, now.keys, pledge.digest)
        keys.verify(now.member.identities[name], pledge.signature, statement, f"the ciphertext of {name}")
    return sum_statement(now.roster.digest, now.keys, listed)


def _accept_evidence(
    now: _Standing, own: VectorPledge, signed: bytes | None, evidence: Evidence, parameters: Parameters
) -> tuple[bytes, RunningRows]:
    """Return the statement that all senders signed, and the sum of their masks, added up here.

    signed: the statement that this participant signed itself; None if its own vector is not to be in the sum.
    """
    statement = _accept_pledges(now, evidence.pledges)
    if signed not in (None, statement):
        raise SecureSumError("this participant signed for another list of ciphertexts than is now to be opened")
    if signed is None and now.own in evidence.pledges.pledges:
        raise SecureSumError("a ciphertext of this participant is to be opened that it has not sent")
    for place, signature in evidence.signatures.items():
        name = now.roster.names[place]
        keys.verify(now.member.identities[name], signature, statement, f"the list of ciphertexts of {name}")
    total = RunningRows.of_masks(parameters)
    for place, mask in evidence.masks.items():
        if sha256(mask).digest() != evidence.pledges.pledges[place].digest:
            raise SecureSumError(f"the ciphertext shown for {now.roster.names[place]} is not the one it signed")
        total.add(mask)
    return statement, total


def _needs(now: _Standing, places: Mapping[int, object], of: range | frozenset[int], what: str) -> None:
    """Refuse a set of participants that is too small or holds strangers."""
    if len(places) < now.terms.rules.min_cohort:
        raise SecureSumError(f"{len(places)} participants {what}; min_cohort is {now.terms.rules.min_cohort}")
    if not all(place in of for place in places):
        raise SecureSumError(f"one who is said to {what} cannot")
