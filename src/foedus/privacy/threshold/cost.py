"""What a threshold sum costs in a round, from the protocol's own messages and from rates measured when asked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.cost import TIMES, Cost, Load, least_seconds
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.secure_sum.wire import DIGEST_BYTES
from foedus.privacy.signing.identity import SIGNATURE_BYTES
from foedus.privacy.threshold.messages import (
    Blob,
    Evidence,
    KeyOpening,
    KeyPledge,
    KeyPledges,
    Keys,
    PartialDecryption,
    SentVector,
    VectorPledge,
    VectorPledges,
)
from foedus.privacy.threshold.parameters import Parameters, choose
from foedus.privacy.threshold.proof import ROWS, proof_bytes, prove, verify
from foedus.privacy.threshold.ring import RING
from foedus.privacy.threshold.sampling import ERROR_PAIRS, WIDE_BITS
from foedus.privacy.threshold.scheme import (
    RunningRows,
    claim_of,
    combine,
    create_key_share,
    encrypt,
    joint_key,
    partially_decrypt,
)


def cost_of_threshold(load: Load, rules: Rules) -> Cost:
    """Return what a threshold sum costs in a round to which everybody stays.

    Raises: SecureSumError if it is not for so many participants.
    """
    count = len(load.names)
    if count < rules.min_cohort:
        raise SecureSumError(f"{count} participants are in a round; min_cohort is {rules.min_cohort}")
    parameters = choose(load.layout, count)
    up, down = _bytes(load, rules, parameters)
    participant, coordinator = _seconds(parameters)
    return Cost(
        kind="threshold",
        up_bytes=up,
        down_bytes=load.plain_down + down,
        exchanges=5,
        participant_seconds=participant,
        coordinator_seconds=coordinator,
        protects=(
            f"the coordinator sees one sum over all {count}; if it lies, sums over groups of {rules.min_cohort} or "
            f"more, also if {rules.min_cohort - 2} of them side with it (min_cohort decides on both). "
            "Experimental: not reviewed by anybody outside"
        ),
        does_not_protect=(
            "against one that vanishes late: then the round is lost; what sums tell, of several rounds together "
            "above all"
        ),
    )


def _bytes(load: Load, rules: Rules, parameters: Parameters) -> tuple[int, int]:
    """Return the bytes of one participant's messages up and down: those of the protocol, filled with zeros.

    Of the long ones only what stands around the ring elements is written.
    """
    places, digest, signature = range(len(load.names)), bytes(DIGEST_BYTES), bytes(SIGNATURE_BYTES)
    pledges = [KeyPledge(digest, name, digest, signature) for name in load.names]
    listed = VectorPledges(dict.fromkeys(places, VectorPledge(digest, signature)))
    empty = dict.fromkeys(places, b"")
    up = [
        sum(len(one.encode()) for one in pledges) // len(places),
        len(KeyOpening(digest, b"").encode()) + RING.element_bytes(),
        len(VectorPledge(digest, signature).encode()),
        len(SentVector(signature, b"", b"", b"").encode())
        + proof_bytes(RING)
        + parameters.mask_bytes
        + parameters.body_bytes,
        len(PartialDecryption(digest, b"").encode()) + parameters.body_bytes,
    ]
    down = [
        len(Terms("", "", 0, "", digest, digest, rules, load.layout).encode()),
        len(KeyPledges.of(pledges).encode()),
        len(Keys(digest, empty).encode()) + len(places) * RING.element_bytes(),
        len(listed.encode()),
        len(Evidence(listed, dict.fromkeys(places, signature), empty, empty).encode())
        + len(places) * (parameters.mask_bytes + proof_bytes(RING)),
    ]
    return sum(up), sum(down)


def _seconds(parameters: Parameters) -> tuple[float, float]:
    """Return a participant's seconds and the coordinator's, from the rates of a single polynomial, measured now."""
    one = choose(Layout(((32, RING.degree),)), parameters.participants)
    share = create_key_share(RING, b"", Entropy.secret())
    key, vector = joint_key(RING, b"", [share.public]), one.layout.zeros()
    sent = encrypt(vector, one, key, Entropy.secret())
    masks, bodies = RunningRows.of_masks(one), RunningRows.of_bodies(one)
    masks.add(sent.mask)
    bodies.add(sent.body)
    bodies.add(partially_decrypt(masks, share, one, Entropy.secret()))
    participants, polynomials = parameters.participants, parameters.polynomials
    claim = claim_of(one, key, share.public, sent.mask, b"")
    proof = prove(claim, [share.secret, *sent.made_of], Entropy.secret())
    attempts = polynomials * (ERROR_PAIRS + 1) * ROWS * RING.degree / (1 << WIDE_BITS) + 1
    contexts = iter(number.to_bytes(1, "big") for number in range(TIMES + 1))
    loose = masks.rows[0].astype("<i8")

    def verified() -> None:
        with suppress(SecureSumError):  # of another context, since what was verified once is remembered
            verify(replace(claim, context=next(contexts)), proof)

    def shifted() -> None:
        for _ in range(ROWS):
            RING.add_shifted(loose, loose, 1)

    verifying, shifting = least_seconds(verified), least_seconds(shifted)

    def hashed_and_added(mask: Blob) -> None:
        sha256(mask)
        RunningRows.of_masks(one).add(mask)

    participant = (
        least_seconds(lambda: create_key_share(RING, b"", Entropy.secret()))
        + least_seconds(lambda: joint_key(RING, b"", [share.public] * participants))
        + polynomials * least_seconds(lambda: encrypt(vector, one, key, Entropy.secret()))
        + polynomials * participants * least_seconds(lambda: hashed_and_added(sent.mask))
        + attempts * least_seconds(lambda: prove(claim, [share.secret, *sent.made_of], Entropy.secret()))
        + (participants - 1) * (verifying + polynomials * shifting)
        + polynomials * least_seconds(lambda: partially_decrypt(masks, share, one, Entropy.secret()))
    )
    coordinator = participants * (verifying + polynomials * shifting) + polynomials * (
        participants * least_seconds(lambda: sha256(sent.mask))
        + 2 * participants * least_seconds(lambda: RunningRows.of_bodies(one).add(sent.body))
        + least_seconds(lambda: combine(bodies, one))
    )
    return participant, coordinator
