"""A participant's side of one threshold sum: messages in, messages out, and every check before each answer.

EXPERIMENTAL: not reviewed by an outside cryptographer.

Before it decrypts, a participant adds up the masks of all ciphertexts itself: those whose hashes their senders
signed before they saw any other, and that are proved to be ciphertexts. So the coordinator cannot have a single one
opened, or one twice, or one of another round; who sends cannot make its own of another's, or of anything that would
show the key. That costs a download of all masks and proofs, and no assumption but SHA-256's. A keyed linear hash of
the masks, which each would announce for its own, needs less, but one participant that announces a false value for
the coordinator's sake makes it say anything.
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
    proof_context,
    sum_statement,
    vector_statement,
)
from foedus.privacy.threshold.parameters import Parameters, choose
from foedus.privacy.threshold.proof import prove, verify
from foedus.privacy.threshold.ring import RING, Ring
from foedus.privacy.threshold.scheme import (
    JointKey,
    RunningRows,
    claim_of,
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

    def context(self, place: int, digest: bytes) -> bytes:
        return proof_context(self.roster.digest, self.keys, self.roster.names[place], digest)


@dataclass(frozen=True)
class _Opening:
    """What masks and proofs are checked with."""

    parameters: Parameters
    key: JointKey
    publics: Mapping[int, bytes]


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
    publics = {place: bytes(public) for place, public in shown.publics.items()}
    key = joint_key(ring, terms.digest(), list(publics.values()))
    ciphertext = encrypt(vector, parameters, key, entropy)
    del message, shown

    digest = sha256(ciphertext.mask).digest()
    signature = keys.signature_of(member.identity, vector_statement(now.roster.digest, now.keys, digest))
    pledge = VectorPledge(digest, signature)
    statement = _accept_pledges(now, VectorPledges.decode((yield pledge.encode())), pledge)
    signature = keys.signature_of(member.identity, statement)
    claim = claim_of(parameters, key, share.public, ciphertext.mask, now.context(now.own, digest))
    proof = prove(claim, [share.secret, *ciphertext.made_of], entropy)
    message = SentVector(signature, proof, ciphertext.mask, ciphertext.body).encode()
    del ciphertext, claim, proof

    evidence = Evidence.decode((yield message))
    del message
    total = _accept_evidence(now, pledge, statement, evidence, _Opening(parameters, key, publics))
    del evidence
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


def _accept_pledges(now: _Standing, listed: VectorPledges, own: VectorPledge) -> bytes:
    """Return the statement to sign: that these, which their senders signed one by one, are to be summed.

    They are those of all key holders: the share of one that sends nothing would be proved by nothing.
    """
    if listed.pledges.keys() != now.holders or listed.pledges[now.own] != own:
        raise SecureSumError("the list of ciphertexts is not that of all who made the key, each with its own")
    for place, pledge in listed.pledges.items():
        name = now.roster.names[place]
        statement = vector_statement(now.roster.digest, now.keys, pledge.digest)
        keys.verify(now.member.identities[name], pledge.signature, statement, f"the ciphertext of {name}")
    return sum_statement(now.roster.digest, now.keys, listed)


def _accept_evidence(
    now: _Standing, own: VectorPledge, statement: bytes, evidence: Evidence, opening: _Opening
) -> RunningRows:
    """Return twice the sum of all masks, added up here, once everything about them is checked."""
    if _accept_pledges(now, evidence.pledges, own) != statement:
        raise SecureSumError("this participant signed for another list of ciphertexts than is now to be opened")
    for place, signature in evidence.signatures.items():
        name = now.roster.names[place]
        keys.verify(now.member.identities[name], signature, statement, f"the list of ciphertexts of {name}")
    total = RunningRows.of_masks(opening.parameters)
    for place, mask in evidence.masks.items():
        digest = evidence.pledges.pledges[place].digest
        if sha256(mask).digest() != digest:
            raise SecureSumError(f"the ciphertext shown for {now.roster.names[place]} is not the one it signed")
        context = now.context(place, digest)
        verify(claim_of(opening.parameters, opening.key, opening.publics[place], mask, context), evidence.proofs[place])
        total.add(mask, times=2)
    return total


def _needs(now: _Standing, places: Mapping[int, object], of: range | frozenset[int], what: str) -> None:
    """Refuse a set of participants that is too small or holds strangers."""
    if len(places) < now.terms.rules.min_cohort:
        raise SecureSumError(f"{len(places)} participants {what}; min_cohort is {now.terms.rules.min_cohort}")
    if not all(place in of for place in places):
        raise SecureSumError(f"one who is said to {what} cannot")
