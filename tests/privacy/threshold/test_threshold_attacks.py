"""What a coordinator, a copied message or another round can try, and what participants answer to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.exchanges import Outcome
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.terms import Rules, Terms
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
from foedus.privacy.threshold.parameters import choose
from foedus.privacy.threshold.participant import take_part
from foedus.privacy.threshold.proof import prove, verify
from foedus.privacy.threshold.ring import LIMB_BITS
from foedus.privacy.threshold.scheme import (
    RunningRows,
    claim_of,
    combine,
    create_key_share,
    encrypt,
    joint_key,
    partially_decrypt,
)
from privacy.secure_sum.federations import entropy, members_of, names_of, terms_of, vector_of
from privacy.threshold.threshold_federations import LAYOUT, PHASES, SMALL, play

PLEDGE, SHOW, ENCRYPT, SEND, OPEN = range(len(PHASES))
NAMES = names_of(4)
VECTORS = {name: vector_of(index, LAYOUT) for index, name in enumerate(NAMES)}
TERMS = terms_of(layout=LAYOUT)

Rewrite = Callable[[bytes], bytes]


def played(phase: int, rewrite: Rewrite, *, to: tuple[str, ...] = NAMES, terms: Terms = TERMS) -> Outcome:
    """Play a sum whose coordinator rewrites what it sends in a phase."""
    return play(
        terms,
        members_of(4),
        VECTORS,
        down=lambda now, name, message: rewrite(message) if now == phase and name in to else message,
    )


def refused(phase: int, rewrite: Rewrite, says: str) -> None:
    """Check that all participants refuse the rewritten message with that reason, and no sum comes of it."""
    outcome = played(phase, rewrite)
    assert outcome.total is None
    assert set(outcome.left_out) == set(NAMES)
    for reason in outcome.left_out.values():
        assert says in reason


def with_evidence(change: Callable[[Evidence], Evidence]) -> Rewrite:
    return lambda message: change(Evidence.decode(message)).encode()


def without(place: int) -> Callable[[Evidence], Evidence]:
    def change(evidence: Evidence) -> Evidence:
        kept = [other for other in evidence.masks if other != place]
        return Evidence(
            VectorPledges({other: evidence.pledges.pledges[other] for other in kept}),
            {other: evidence.signatures[other] for other in kept},
            {other: evidence.masks[other] for other in kept},
            {other: evidence.proofs[other] for other in kept},
        )

    return change


def test_a_sum_that_nobody_tampers_with_stands() -> None:
    assert played(OPEN, lambda message: message).reason is None


# ---- what is opened is the sum over the signed list, and nothing else


def test_a_subset_of_the_ciphertexts_is_not_opened() -> None:
    refused(OPEN, with_evidence(without(3)), "is not that of all who made the key")


def test_a_single_ciphertext_is_not_opened() -> None:
    def alone(evidence: Evidence) -> Evidence:
        return without(3)(without(2)(without(1)(evidence)))

    refused(OPEN, with_evidence(alone), "is not that of all who made the key")


def test_a_ciphertext_in_the_place_of_another_is_not_opened() -> None:
    """So neither one ciphertext doubled, nor four times the same one."""

    def doubled(evidence: Evidence) -> Evidence:
        return replace(evidence, masks={**evidence.masks, 1: evidence.masks[0]})

    def only_the_first(evidence: Evidence) -> Evidence:
        return replace(evidence, masks=dict.fromkeys(evidence.masks, evidence.masks[0]))

    for change in (doubled, only_the_first):
        refused(OPEN, with_evidence(change), "is not the one it signed")


def test_a_ciphertext_that_the_coordinator_made_is_not_opened() -> None:
    def zeroed(evidence: Evidence) -> Evidence:
        return replace(evidence, masks={**evidence.masks, 2: bytes(len(evidence.masks[2]))})

    def one_bit(evidence: Evidence) -> Evidence:
        changed = bytearray(evidence.masks[2])
        changed[5] ^= 1
        return replace(evidence, masks={**evidence.masks, 2: bytes(changed)})

    for change in (zeroed, one_bit):
        refused(OPEN, with_evidence(change), "is not the one it signed")


def test_a_digest_that_its_sender_did_not_sign_is_not_accepted() -> None:
    def swapped(listed: VectorPledges) -> VectorPledges:
        forged = replace(listed.pledges[2], digest=sha256(b"made by the coordinator").digest())
        return VectorPledges({**listed.pledges, 2: forged})

    outcome = played(SEND, lambda message: swapped(VectorPledges.decode(message)).encode())
    assert outcome.total is None
    for name in (NAMES[0], NAMES[1], NAMES[3]):
        assert (
            outcome.left_out[name] == f"the ciphertext of {NAMES[2]} is not signed with the key that is pinned for it"
        )
    assert "each with its own" in outcome.left_out[NAMES[2]]


def test_signatures_over_the_list_cannot_be_swapped_or_made_up() -> None:
    def swapped(evidence: Evidence) -> Evidence:
        own = evidence.signatures
        return replace(evidence, signatures={**own, 0: own[1], 1: own[0]})

    refused(OPEN, with_evidence(swapped), "the list of ciphertexts of site-0000 is not signed")


def test_a_list_that_lacks_one_who_made_the_key_is_not_signed() -> None:
    """So there are no two lists for two groups, and nobody whose key share has no proof."""

    def shorter(message: bytes) -> bytes:
        listed = VectorPledges.decode(message)
        return VectorPledges({place: listed.pledges[place] for place in (0, 1, 2)}).encode()

    refused(SEND, shorter, "is not that of all who made the key")


def test_evidence_for_a_list_that_was_not_signed_here_is_refused() -> None:
    """Another pledge of site 3, signed by itself, takes the place of the one in the list that was signed."""

    def other(evidence: Evidence) -> Evidence:
        roster, shown = seen["roster"], seen["keys"]
        digest = sha256(b"another ciphertext").digest()
        statement = vector_statement(sha256(roster).digest(), sha256(shown).digest(), digest)
        pledge = VectorPledge(digest, keys.signature_of(members_of(4)[NAMES[3]].identity, statement))
        return replace(evidence, pledges=VectorPledges({**evidence.pledges.pledges, 3: pledge}))

    seen: dict[str, bytes] = {}

    def rewriting(phase: int, name: str, message: bytes) -> bytes:
        if phase in (SHOW, ENCRYPT):
            seen["roster" if phase == SHOW else "keys"] = message
        return with_evidence(other)(message) if phase == OPEN else message

    outcome = play(TERMS, members_of(4), VECTORS, down=rewriting)
    for name in NAMES[:3]:
        assert "signed for another list of ciphertexts" in outcome.left_out[name]


def test_evidence_of_another_round_is_not_opened() -> None:
    earlier: list[bytes] = []

    def keep(phase: int, name: str, message: bytes) -> bytes:
        if phase == OPEN:
            earlier.append(message)
        return message

    members = members_of(4)
    play(TERMS, members, VECTORS, down=keep)
    later = terms_of(layout=LAYOUT, round_number=1)
    outcome = play(later, members, VECTORS, down=lambda phase, name, message: earlier[0] if phase == OPEN else message)
    assert outcome.total is None
    for reason in outcome.left_out.values():
        assert "is not that of all who made the key" in reason


def test_a_round_is_answered_once_and_opened_once() -> None:
    members = members_of(4)
    assert play(TERMS, members, VECTORS).reason is None
    for member in members.values():
        assert len([name for name in member.record_once.entries if name.startswith("partial decryption")]) == 1  # type: ignore[attr-defined]
    again = play(replace(TERMS, model=b"n" * 32), members, VECTORS)
    assert again.total is None
    assert set(again.left_out.values()) == {"an answer was given before"}


def test_what_is_decrypted_is_on_record_before_it_leaves() -> None:
    members = members_of(4)
    play(TERMS, members, VECTORS, lost=lambda name, phase: phase == OPEN)
    for member in members.values():
        recorded = [name for name in member.record_once.entries if name.startswith("partial decryption")]  # type: ignore[attr-defined]
        assert recorded == ["partial decryption answer 'task' 'run' 0 'update'"]


# ---- keys


def test_a_key_share_chosen_after_the_others_were_seen_is_refused() -> None:
    """The rogue key: minus the sum of the others' shares, plus one whose secret is known."""

    def rogue(message: bytes) -> bytes:
        shown = Keys.decode(message)
        total = np.zeros((SMALL.limbs, SMALL.degree), dtype=np.int64)
        for place in (0, 1, 2):
            total -= SMALL.read(shown.publics[place])
        own = create_key_share(SMALL, TERMS.digest(), entropy("rogue"))
        chosen = SMALL.encode(SMALL.settled(total + SMALL.read(own.public)))
        return Keys(shown.roster, {**shown.publics, 3: chosen}).encode()

    outcome = played(ENCRYPT, rogue, to=NAMES[:3])
    assert outcome.total is None
    for name in NAMES[:3]:
        assert "shows another key share than it committed to" in outcome.left_out[name]


def test_another_participants_commitment_cannot_be_repeated() -> None:
    public = create_key_share(SMALL, b"t", entropy("k")).public
    assert commitment(b"t" * 32, "a", public) != commitment(b"t" * 32, "b", public)


def test_the_coordinator_refuses_a_share_that_was_not_committed_to() -> None:
    def other(phase: int, name: str, message: bytes) -> bytes:
        if phase == SHOW and name == NAMES[3]:
            opening = KeyOpening.decode(message)
            return KeyOpening(opening.roster, bytes(len(opening.public))).encode()
        return message

    outcome = play(TERMS, members_of(4), VECTORS, up=other)
    assert outcome.survivors == NAMES[:3]
    assert "another key share than it committed to" in outcome.left_out[NAMES[3]]


def test_a_key_that_leaves_this_participant_out_is_refused() -> None:
    def shorter(message: bytes) -> bytes:
        shown = Keys.decode(message)
        return Keys(shown.roster, {place: shown.publics[place] for place in (1, 2, 3)}).encode()

    outcome = played(ENCRYPT, shorter, to=NAMES[:1])
    assert "showed its key share, but the coordinator leaves it out" in outcome.left_out[NAMES[0]]


def test_participants_that_were_shown_different_keys_do_not_sum() -> None:
    """Signatures over ciphertexts name the keys, so a list with both kinds convinces nobody."""

    def shorter(message: bytes) -> bytes:
        shown = Keys.decode(message)
        return Keys(shown.roster, {place: shown.publics[place] for place in (0, 1, 2)}).encode()

    outcome = played(ENCRYPT, shorter, to=NAMES[:1])
    assert outcome.survivors == ()
    assert outcome.left_out[NAMES[0]] == "the ciphertext of site-0000 is not signed with the key that is pinned for it"


def test_rosters_that_are_small_or_strange_are_refused() -> None:
    def fewer(message: bytes) -> bytes:
        return KeyPledges(KeyPledges.decode(message).members[:2]).encode()

    def others(message: bytes) -> bytes:
        return KeyPledges(KeyPledges.decode(message).members[1:]).encode()

    def forged(message: bytes) -> bytes:
        members = KeyPledges.decode(message).members
        return KeyPledges((*members[:3], replace(members[3], commitment=b"c" * 32))).encode()

    refused(SHOW, fewer, "2 participants are on the roster; min_cohort is 3")
    refused(SHOW, forged, f"what {NAMES[3]} showed is not signed")
    assert "does not hold what site-0000 pledged" in played(SHOW, others, to=NAMES[:1]).left_out[NAMES[0]]


def test_a_stranger_on_the_roster_is_refused() -> None:
    stranger = members_of(5)["site-0004"]

    def joined(message: bytes) -> bytes:
        pledge = KeyPledge.signed(TERMS, "site-0004", b"share", stranger.identity)
        return KeyPledges((*KeyPledges.decode(message).members, pledge)).encode()

    refused(SHOW, joined, "no key is pinned for it")


def test_other_terms_are_refused_before_anything_is_drawn() -> None:
    for other in (
        replace(TERMS, model=b"x" * 32),
        replace(TERMS, rules=Rules(min_cohort=2)),
        terms_of(layout=LAYOUT, round_number=7),
    ):
        refused(PLEDGE, lambda _, other=other: other.encode(), "the coordinator's")  # type: ignore[misc]


def test_a_participant_whose_pinned_key_is_another_takes_no_part() -> None:
    members = members_of(4)
    wrong = replace(members[NAMES[0]], identity=members[NAMES[1]].identity)
    side = take_part(wrong, TERMS, TERMS.encode(), VECTORS[NAMES[0]], entropy("x"), ring=SMALL)
    with pytest.raises(SecureSumError, match="is not its own"):
        next(side)


# ---- what participants send


def test_ciphertexts_and_parts_of_other_sums_are_refused_by_the_coordinator() -> None:
    def resized(phase: int, name: str, message: bytes) -> bytes:
        return message + b"\x00" if phase == OPEN and name == NAMES[1] else message

    outcome = play(TERMS, members_of(4), VECTORS, up=resized)
    assert outcome.total is None
    assert "bytes of ring elements came" in outcome.left_out[NAMES[1]]

    def another(phase: int, name: str, message: bytes) -> bytes:
        if phase == SEND and name == NAMES[1]:
            sent = SentVector.decode(message)
            return SentVector(sent.signature, sent.proof, bytes(len(sent.mask)), sent.body).encode()
        return message

    outcome = play(TERMS, members_of(4), VECTORS, up=another)
    assert outcome.left_out[NAMES[1]] == "it sent another ciphertext than it signed for"


def test_a_wrong_partial_decryption_is_noticed() -> None:
    def garbled(phase: int, name: str, message: bytes) -> bytes:
        if phase == OPEN and name == NAMES[1]:
            decrypted = PartialDecryption.decode(message)
            return PartialDecryption(decrypted.statement, bytes(len(decrypted.part))).encode()
        return message

    outcome = play(TERMS, members_of(4), VECTORS, up=garbled)
    assert outcome.total is None
    assert outcome.reason is not None
    assert "do not fit together" in outcome.reason


def test_a_sender_cannot_make_its_ciphertext_of_anothers() -> None:
    """Site 3, together with the coordinator, wants the sum to be the ciphertext of site 0 alone.

    It would send minus those of sites 1 and 2. But it signs a digest before it sees them, and everyone hashes.
    """

    def cancelling(evidence: Evidence) -> Evidence:
        total = np.zeros((SMALL.limbs, SMALL.degree), dtype=np.int64)
        size = SMALL.element_bytes()
        made = b""
        for begin in range(0, len(evidence.masks[0]), size):
            total[:] = 0
            for place in (1, 2):
                total -= SMALL.read(evidence.masks[place][begin : begin + size])
            made += SMALL.encode(SMALL.settled(total))
        return replace(evidence, masks={**evidence.masks, 3: made})

    outcome = played(OPEN, with_evidence(cancelling), to=NAMES[:3])
    for name in NAMES[:3]:
        assert outcome.left_out[name] == f"the ciphertext shown for {NAMES[3]} is not the one it signed"


def test_a_mask_that_is_no_ciphertext_would_show_the_key_and_has_no_proof() -> None:
    """Site 0 adds one unit of the plaintext to its mask. Were it opened, small vectors would let the key show above."""
    layout, count = Layout(((8, 16),)), 3
    parameters = choose(layout, count, SMALL)
    shares = [create_key_share(SMALL, b"t", entropy("key", index)) for index in range(count)]
    key = joint_key(SMALL, b"t", [share.public for share in shares])
    sent = [encrypt(layout.zeros(), parameters, key, entropy("enc", index)) for index in range(count)]
    masks, total = RunningRows.of_masks(parameters), RunningRows.of_bodies(parameters)
    place, bit = divmod(parameters.plain_shift - 1, LIMB_BITS)
    crafted = SMALL.read(sent[0].mask[: SMALL.element_bytes()]).astype(np.int64)
    crafted[place, 0] += 1 << bit
    mask = SMALL.encode(SMALL.settled(crafted)) + bytes(sent[0].mask[SMALL.element_bytes() :])
    for one, shown in zip(sent, (mask, sent[1].mask, sent[2].mask), strict=True):
        masks.add(shown, times=2)
        total.add(one.body, times=2)
    for index, share in enumerate(shares):
        total.add(partially_decrypt(masks, share, parameters, entropy("open", index)))
    slots = parameters.regions[0].slots
    seen = combine(total, parameters)[0].view(np.int8)[::slots]
    key_sum = np.sum([share.secret.factor for share in shares], axis=0)
    assert (seen == key_sum[: len(seen)]).all()

    claim = claim_of(parameters, key, shares[0].public, mask, b"context")
    with pytest.raises(SecureSumError, match="is not shown to be a ciphertext"):
        verify(claim, prove(claim, [shares[0].secret, *sent[0].made_of], entropy("proof")))
    honest = claim_of(parameters, key, shares[0].public, sent[0].mask, b"context")
    verify(honest, prove(honest, [shares[0].secret, *sent[0].made_of], entropy("proof")))


def test_a_ciphertext_without_its_own_proof_is_refused_by_participants_and_coordinator() -> None:
    def swapped(evidence: Evidence) -> Evidence:
        return replace(evidence, proofs={**evidence.proofs, 0: evidence.proofs[1], 1: evidence.proofs[0]})

    refused(OPEN, with_evidence(swapped), "is not shown to be a ciphertext")

    def flipped(phase: int, name: str, message: bytes) -> bytes:
        if phase == SEND and name == NAMES[1]:
            sent = SentVector.decode(message)
            proof = bytearray(sent.proof)
            proof[40] ^= 1
            return SentVector(sent.signature, bytes(proof), sent.mask, sent.body).encode()
        return message

    outcome = play(TERMS, members_of(4), VECTORS, up=flipped)
    assert outcome.total is None
    assert "is not shown to be a ciphertext" in outcome.left_out[NAMES[1]]


def test_messages_of_other_phases_and_after_the_end_are_refused() -> None:
    members = members_of(4)
    side = take_part(members[NAMES[0]], TERMS, TERMS.encode(), VECTORS[NAMES[0]], entropy("x"), ring=SMALL)
    next(side)
    with pytest.raises(SecureSumError, match="is of kind 1; expected is 41"):
        side.send(TERMS.encode())
    with pytest.raises(StopIteration):
        side.send(TERMS.encode())


def test_statements_of_different_messages_are_never_the_same_bytes() -> None:
    roster, shown, digest = b"r" * 32, b"k" * 32, b"d" * 32
    listed = VectorPledges({0: VectorPledge(digest, b"s" * 64)})
    assert vector_statement(roster, shown, digest) != sum_statement(roster, shown, listed)
    identity = members_of(1)[NAMES[0]].identity
    signature = keys.signature_of(identity, vector_statement(roster, shown, digest))
    with pytest.raises(SecureSumError):
        keys.verify(identity.public, signature, vector_statement(shown, roster, digest), "it")
