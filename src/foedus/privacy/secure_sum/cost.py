"""What a round's sum costs by the way it is made, in bytes, exchanges and seconds, and what each way protects.

One function a kind, each of the same question. Seconds follow from rates that are measured when somebody
asks, on the machine that asks: an estimate of what a quiet core takes, without the network and the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from foedus.core.entropy import Entropy
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.field import SHARES
from foedus.privacy.secure_sum.graph import Shape, shape, withstood_colluders
from foedus.privacy.secure_sum.masks import Layout, add_masks_in_place, add_vector_in_place
from foedus.privacy.secure_sum.messages import (
    SEALED_BYTES,
    Agreement,
    Confirmation,
    Delivery,
    MaskedVector,
    Opening,
    SealedShares,
    ShareKind,
    SurvivorList,
)
from foedus.privacy.secure_sum.quantize import Grid, quantize
from foedus.privacy.secure_sum.roster import Advertisement, Roster
from foedus.privacy.secure_sum.shamir import combine, split
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.secure_sum.wire import DIGEST_BYTES
from foedus.privacy.signing.identity import SIGNATURE_BYTES, Identity

TIMES = 3  # that a step is measured


@dataclass(frozen=True)
class Load:
    """What a round of a run has to sum.

    names: a cohort's participants. plain_up, plain_down: one participant's bytes without a secure sum.
    layout: the words that an update becomes on the integer grids.
    """

    names: Sequence[ParticipantId]
    plain_up: int
    plain_down: int
    layout: Layout


@dataclass(frozen=True)
class Cost:
    """What one way to sum costs in a round to which everybody stays, and what it is good for.

    kind: as in `secure_sum`. up_bytes, down_bytes: one participant's, the model that is sent among them.
    exchanges: requests that a participant answers. participant_seconds, coordinator_seconds: beside training and
        the plain sum, on one core. protects, does_not_protect: one line each, without a full stop.
    """

    kind: str
    up_bytes: int
    down_bytes: int
    exchanges: int
    participant_seconds: float = field(compare=False)  # measured: no two askings give the same
    coordinator_seconds: float = field(compare=False)
    protects: str
    does_not_protect: str


def cost_of_none(load: Load) -> Cost:
    """Return what the plain sum costs: nothing beside what is sent."""
    return Cost(
        kind="none",
        up_bytes=load.plain_up,
        down_bytes=load.plain_down,
        exchanges=1,
        participant_seconds=0.0,
        coordinator_seconds=0.0,
        protects="the coordinator sees every update",
        does_not_protect="updates, weights, losses and counts of each participant",
    )


def cost_of_masks(load: Load, rules: Rules) -> Cost:
    """Return what a sum under masks costs, from the protocol's own messages and from rates measured now.

    Raises: SecureSumError if the rules cannot be kept with so many participants.
    """
    known = shape(len(load.names), rules)
    up, down = _mask_bytes(load, rules, known)
    participant, coordinator = _mask_seconds(load, known)
    return Cost(
        kind="masks",
        up_bytes=up,
        down_bytes=load.plain_down + down,
        exchanges=5,
        participant_seconds=participant,
        coordinator_seconds=coordinator,
        protects=(
            f"the coordinator sees one sum over {known.survivors_needed} or more of {known.participants}; if it lies, "
            f"sums over groups of {rules.least_survivors} or more, also if "
            f"{withstood_colluders(len(load.names), rules)} of them side with it (min_cohort decides on both); "
            f"{known.dropouts} may vanish"
        ),
        does_not_protect=(
            "what sums tell, of several rounds together above all, which only differential privacy bounds; against "
            "poisoned updates"
        ),
    )


def masks_of(known: Shape) -> int:
    """Return how many masks a participant adds: one of its own, one with each who picked it or whom it picked."""
    neighbours = known.neighbours
    if neighbours < known.participants - 1:
        neighbours = round(2 * neighbours - neighbours**2 / (known.participants - 1))
    return neighbours + 1


def _mask_bytes(load: Load, rules: Rules, known: Shape) -> tuple[int, int]:
    """Return the bytes of one participant's messages up and down: those of the protocol, filled with zeros."""
    everybody, digest = range(known.participants), bytes(DIGEST_BYTES)
    blank = bytes(keys.KEY_BYTES)
    shown = [Advertisement(digest, name, blank, blank, blank, bytes(SIGNATURE_BYTES)) for name in load.names]
    roster = Roster.of(shown).encode()
    holders = dict.fromkeys(range(known.neighbours), bytes(SEALED_BYTES))
    owners = dict.fromkeys(range(known.neighbours + 1), (ShareKind.SEED, 0))
    up = [
        sum(len(one.encode()) for one in shown) // known.participants,
        len(SealedShares(digest, holders).encode()),
        MaskedVector.OFFSET + load.layout.byte_size,
        len(Confirmation(bytes(SIGNATURE_BYTES)).encode()),
        len(Opening(owners).encode()),
    ]
    down = [
        len(Terms("", "", 0, "", digest, digest, rules, load.layout).encode()),
        len(roster),
        len(Delivery(digest, tuple(everybody), holders).encode()),
        len(SurvivorList(digest, tuple(everybody)).encode()),
        len(Agreement(dict.fromkeys(everybody, bytes(SIGNATURE_BYTES))).encode()),
    ]
    return sum(up), sum(down)


def _mask_seconds(load: Load, known: Shape) -> tuple[float, float]:
    """Return a participant's seconds and the coordinator's, from rates measured now."""
    size, everybody = load.layout.byte_size, known.participants
    rates = _measured(known)
    participant = (
        size * (rates.rounding + masks_of(known) * rates.masking)
        + 2 * masks_of(known) * rates.agreeing
        + 2 * everybody * rates.verifying
        + 2 * rates.signing
        + 2 * rates.splitting
    )
    coordinator = everybody * (size * (rates.adding + rates.masking) + 2 * rates.verifying + rates.combining)
    return participant, coordinator


@dataclass(frozen=True)
class _Rates:
    """Seconds, of a byte of a vector for the first three, of one operation for the others."""

    rounding: float
    masking: float
    adding: float
    agreeing: float
    signing: float
    verifying: float
    splitting: float
    combining: float


def _measured(known: Shape) -> _Rates:
    """Measure each step for a moment, on data that are thrown away."""
    layout = Layout(((32, 1 << 16),))
    vector, other = layout.zeros(), layout.zeros()
    values, grid = torch.zeros(1 << 16), Grid(1.0, known.participants, 32)
    mask_keys = [bytes([number]) * keys.KEY_BYTES for number in range(4)]
    identity, message, entropy = Identity.create(), bytes(DIGEST_BYTES), Entropy.secret()
    side, public = X25519PrivateKey.generate(), keys.public_key(bytes(range(keys.KEY_BYTES)))
    points = range(1, known.neighbours + 2)
    shares = split(1, known.share_threshold, points, SHARES, entropy)
    # What was computed once is remembered: other messages each time, and other points where the holders differ.
    signed = iter([(keys.signature_of(identity, bytes([number])), bytes([number])) for number in range(TIMES + 1)])
    shift = 0 if known.neighbours == known.participants - 1 else 1
    held = iter([{point + shift * number: shares[point] for point in points} for number in range(TIMES + 1)])
    return _Rates(
        rounding=least_seconds(lambda: quantize(values, grid, vector[0])) / layout.byte_size,
        masking=least_seconds(lambda: add_masks_in_place(vector, mask_keys)) / (len(mask_keys) * layout.byte_size),
        adding=least_seconds(lambda: add_vector_in_place(vector, other)) / layout.byte_size,
        agreeing=least_seconds(lambda: keys.pair_mask_key(keys.agreed(side, public), message, "a", "b")),
        signing=least_seconds(lambda: keys.signature_of(identity, message)),
        verifying=least_seconds(lambda: keys.verify(identity.public, *next(signed), "what was just signed")),
        splitting=least_seconds(lambda: split(1, known.share_threshold, points, SHARES, entropy)),
        combining=least_seconds(lambda: combine(next(held), known.share_threshold, SHARES)),
    )


def least_seconds(work: Callable[[], object]) -> float:
    """Return the least time of a few: what the work takes where nothing disturbs it. The first only warms up."""
    work()
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
