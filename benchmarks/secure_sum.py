"""What a secure sum takes beside the keystreams that its masks are made of, on this core.

A participant: its time to mask over the raw AES-256-CTR keystream of as many bytes as its masks have. The coordinator:
opening the sum over the keystream that it must expand, with a tenth of the participants vanished before they sent
anything masked. Of both, the masks are added once more by themselves, with keys at hand, and are set beside the raw
keystream; all else that the protocol took, for keys, shares and signatures, is the fixed cost and told beside. What is
written to disk is not in it: two short lines a participant.
Seconds are processor time: other programs on the machine do not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.flower_masks import compare
from foedus.core.entropy import Entropy
from foedus.privacy.secure_sum.coordinator import sum_securely
from foedus.privacy.secure_sum.exchanges import Outcome
from foedus.privacy.secure_sum.masks import KEY_BYTES, Layout, Vector, add_masks_in_place, add_vector_in_place
from foedus.privacy.secure_sum.messages import MaskedVector
from foedus.privacy.secure_sum.participant import Member, Participation, take_part
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.signing.identity import Identity

SIZES = ((10, 22_000_000), (100, 1_000_000), (1000, 100_000))  # participants, words of 32 bits
PHASES = ("advertise", "share", "mask", "confirm", "open")
SMALL = Layout(((8, 1),))
MASK = PHASES.index("mask")
_CHUNK = 1 << 17


def keystream_seconds(masks: int, size: int) -> float:
    """Return the time of the raw keystream of so many masks, thrown away piece by piece."""
    zeros, buffer = bytes(_CHUNK), bytearray(_CHUNK + 16)
    started = time.process_time()
    for _ in range(masks):
        stream = Cipher(algorithms.AES256(bytes(32)), modes.CTR(bytes(16))).encryptor()
        for begin in range(0, size, _CHUNK):
            stream.update_into(zeros if size - begin >= _CHUNK else zeros[: size - begin], buffer)
    return time.process_time() - started


@dataclass
class Played:
    """One sum's seconds: of each participant by phase, and of the coordinator."""

    outcome: Outcome
    seconds: Mapping[str, list[float]]
    masks: int
    opening_seconds: float
    all_seconds: float
    bytes_up: Mapping[str, int] = field(default_factory=dict)


def play(participants: int, length: int) -> Played:
    """Play one sum of equal vectors in which every tenth vanishes before it sends a masked vector."""
    layout = Layout(((64, 8), (32, length)))
    names = [f"site-{index}" for index in range(participants)]
    identities = {name: Identity.create() for name in names}
    pinned = {name: identity.public for name, identity in identities.items()}
    terms = Terms("benchmark", "run", 0, "update", bytes(32), bytes(32), Rules(), layout)
    vector: Vector = layout.from_bytes(bytes(Entropy.secret().draw(layout.byte_size)))
    gone = set(names[::10])
    sides: dict[str, Participation] = {}
    seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
    began = time.process_time()
    coordinator = sum_securely(terms, names, pinned)
    messages, phase, opening = next(coordinator), 0, 0.0
    bytes_up = dict.fromkeys(PHASES, 0)
    while True:
        for name, message in (messages or {}).items():
            if name in gone and phase >= MASK:
                continue
            memory, own = MaskedVector.blank(layout if phase == 0 else SMALL)
            if phase == 0:
                for words, given in zip(own, vector, strict=True):
                    words[:] = given  # what rounding to the grid leaves there
            started = time.process_time()
            if phase == 0:
                member = Member(name, identities[name], pinned, lambda entries: None)
                sides[name] = take_part(member, terms, message, own, Entropy.secret(), memory=memory)
                answer = next(sides[name])
            else:
                answer = sides[name].send(message)
            seconds[PHASES[phase]].append(time.process_time() - started)
            bytes_up[PHASES[phase]] = len(answer)
            coordinator.send((name, answer))
        started = time.process_time()
        try:
            messages = coordinator.send(None)
        except StopIteration as finished:
            opening = time.process_time() - started
            outcome: Outcome = finished.value
            break
        phase += 1
    everything = time.process_time() - began
    check(outcome, vector, participants - len(gone), layout)
    assert outcome.shape is not None
    neighbours = outcome.shape.neighbours
    masks = neighbours + 1
    if neighbours < participants - 1:  # one that others picked masks with them too: on average as many again
        masks = round(2 * neighbours - neighbours**2 / (participants - 1)) + 1
    return Played(outcome, seconds, masks, opening, everything, bytes_up)


def masking_seconds(masks: int, layout: Layout) -> float:
    """Return the time to add so many masks to a vector whose keys are there: what grows with it."""
    vector = layout.zeros()
    mask_keys = [number.to_bytes(KEY_BYTES, "big") for number in range(masks)]
    taken = []
    for _ in range(3):
        started = time.process_time()
        add_masks_in_place(vector, mask_keys)
        taken.append(time.process_time() - started)
    return min(taken)


def check(outcome: Outcome, vector: Vector, survivors: int, layout: Layout) -> None:
    """Raise if the sum is not the plain one: a fast wrong sum is worth nothing."""
    expected = layout.zeros()
    for _ in range(survivors):
        add_vector_in_place(expected, vector)
    if outcome.total is None:
        raise RuntimeError(f"the benchmark's sum did not come about: {outcome.reason}")
    if any((got != want).any() for got, want in zip(outcome.total, expected, strict=True)):
        raise RuntimeError("the benchmark's sum is not the plain one")


def main() -> None:
    for participants, length in SIZES:
        played = play(participants, length)
        size = 4 * length + 64
        raw = min(keystream_seconds(played.masks, size) for _ in range(3))
        median = {phase: statistics.median(times) for phase, times in played.seconds.items()}
        gone = participants - len(played.outcome.survivors)
        expanded = (
            len(played.outcome.survivors) + gone * (played.masks - 1) * len(played.outcome.survivors) // participants
        )
        raw_opening = min(keystream_seconds(expanded, size) for _ in range(2))
        layout = Layout(((64, 8), (32, length)))
        masking, unmasking = masking_seconds(played.masks, layout), masking_seconds(expanded, layout)
        while_masking = max(median["mask"] - masking, 0.0)
        fixed = sum(seconds for phase, seconds in median.items() if phase != "mask") + while_masking
        fixed_bytes = sum(count for phase, count in played.bytes_up.items() if phase != "mask")
        assert played.outcome.shape is not None
        print(f"secure sum, {participants} participants x {length:,} words of 32 bits, {gone} vanished")
        print(f"  {played.outcome.shape.describe()}")
        print(
            f"  a participant: {played.masks} masks in {masking * 1e3:.1f} ms, {masking / raw:.2f} x their keystream "
            f"({raw * 1e3:.1f} ms); fixed, for keys, shares and signatures: {fixed * 1e3:.1f} ms, of which "
            f"{while_masking * 1e3:.1f} ms while it masks, and {fixed_bytes / 1e3:.1f} kB beside {size / 1e6:.1f} MB"
        )
        print(
            f"  the coordinator: unmasks in {unmasking:.2f} s, {unmasking / raw_opening:.2f} x the keystream of "
            f"{expanded} masks ({raw_opening:.2f} s); fixed, for secrets and keys: "
            f"{max(played.opening_seconds - unmasking, 0.0):.2f} s"
        )
        holders, threshold = played.outcome.shape.neighbours + 1, played.outcome.shape.share_threshold
        print(compare(length, holders, threshold))
        print(f"  all of it, one after the other on this core: {played.all_seconds:.1f} s")


if __name__ == "__main__":
    main()
