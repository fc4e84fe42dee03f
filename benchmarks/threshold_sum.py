"""What a threshold sum takes: seconds of each step, of whole protocols, and bytes beside those of float32 updates.

Every sum is compared with the plain one, word by word. Seconds are processor time: other programs on the machine do
not count. Each step's time is one participant's, or the coordinator's over all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from foedus.core.entropy import Entropy
from foedus.privacy.secure_sum.exchanges import Outcome
from foedus.privacy.secure_sum.masks import Layout, Vector, add_vector_in_place
from foedus.privacy.secure_sum.participant import Member, Participation
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.signing.identity import Identity
from foedus.privacy.threshold.coordinator import sum_by_threshold
from foedus.privacy.threshold.parameters import choose
from foedus.privacy.threshold.participant import take_part
from foedus.privacy.threshold.proof import prove, verify
from foedus.privacy.threshold.ring import RING
from foedus.privacy.threshold.scheme import (
    RunningRows,
    claim_of,
    combine,
    create_key_share,
    encrypt,
    joint_key,
    partially_decrypt,
)

SIZES = ((5, 1_000_000), (3, 100_000), (16, 1_000_000))  # participants, values of 32 bits
PHASES = ("pledge", "show", "encrypt", "send", "open")
FLOAT_BYTES = 4
AIM = 6.0  # times the bytes of float32

Result = TypeVar("Result")


def layout_of(length: int) -> Layout:
    return Layout(((64, 8), (32, length)))


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def add_all(total: RunningRows, rows: Sequence[bytes | memoryview], times: int = 1) -> None:
    for row in rows:
        total.add(row, times=times)


def check(total: Vector | None, vectors: list[Vector], layout: Layout) -> None:
    """Raise if the sum is not the plain one: a fast wrong sum is worth nothing."""
    expected = layout.zeros()
    for vector in vectors:
        add_vector_in_place(expected, vector)
    if total is None or any((got != want).any() for got, want in zip(total, expected, strict=True)):
        raise RuntimeError("the benchmark's sum is not the plain one")


def steps(participants: int, length: int) -> Mapping[str, float]:
    """Return the seconds of each step of the scheme, without the protocol around it."""
    layout = layout_of(length)
    parameters = choose(layout, participants)
    vectors = [layout.from_bytes(bytes(Entropy.secret().draw(layout.byte_size))) for _ in range(participants)]
    shares, keys_s = timed(lambda: [create_key_share(RING, b"", Entropy.secret()) for _ in vectors])
    key = joint_key(RING, b"", [share.public for share in shares])
    sent, encrypt_s = timed(lambda: [encrypt(vector, parameters, key, Entropy.secret()) for vector in vectors])
    claim = claim_of(parameters, key, shares[0].public, sent[0].mask, b"")
    proof, prove_s = timed(lambda: prove(claim, [shares[0].secret, *sent[0].made_of], Entropy.secret()))
    verify_s = timed(lambda: verify(claim, proof))[1]
    masks, total = RunningRows.of_masks(parameters), RunningRows.of_bodies(parameters)
    masks_s = timed(lambda: add_all(masks, [one.mask for one in sent], times=2))[1]
    bodies_s = timed(lambda: add_all(total, [one.body for one in sent], times=2))[1]
    parts, open_s = timed(lambda: [partially_decrypt(masks, one, parameters, Entropy.secret()) for one in shares])
    parts_s = timed(lambda: add_all(total, parts))[1]
    opened, combine_s = timed(lambda: combine(total, parameters))
    check(opened, vectors, layout)
    return {
        "key share": keys_s / participants,
        "encrypt": encrypt_s / participants,
        "prove": prove_s,
        "verify one's proof": verify_s,
        "add all masks": masks_s,
        "add all bodies": bodies_s,
        "partial decryption": open_s / participants,
        "combine": parts_s + combine_s,
    }


def play(participants: int, length: int) -> tuple[Mapping[str, float], float, int, int]:
    """Play one whole sum; return a participant's seconds by phase, the coordinator's, and a participant's bytes."""
    layout = layout_of(length)
    names = [f"site-{index}" for index in range(participants)]
    identities = {name: Identity.create() for name in names}
    pinned = {name: identity.public for name, identity in identities.items()}
    terms = Terms("benchmark", "run", 0, "update", bytes(32), bytes(32), Rules(min_cohort=2), layout)
    vectors = {name: layout.from_bytes(bytes(Entropy.secret().draw(layout.byte_size))) for name in names}
    sides: dict[str, Participation] = {}
    seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
    began, up, down = time.process_time(), 0, 0
    coordinator = sum_by_threshold(terms, names, pinned)
    messages, phase = next(coordinator), 0
    while True:
        for name, message in (messages or {}).items():
            started = time.process_time()
            if phase == 0:
                member = Member(name, identities[name], pinned, lambda entries: None)
                sides[name] = take_part(member, terms, message, vectors[name], Entropy.secret())
                answer = next(sides[name])
            else:
                answer = sides[name].send(message)
            seconds[PHASES[phase]].append(time.process_time() - started)
            if name == names[0]:
                up, down = up + len(answer), down + len(message)
            coordinator.send((name, answer))
        try:
            messages = coordinator.send(None)
        except StopIteration as finished:
            outcome: Outcome = finished.value
            break
        phase += 1
    everything = time.process_time() - began
    check(outcome.total, list(vectors.values()), layout)
    coordinating = everything - sum(sum(times) for times in seconds.values())
    return {phase: statistics.median(times) for phase, times in seconds.items()}, coordinating, up, down


def main() -> None:
    for participants, length in SIZES:
        parameters = choose(layout_of(length), participants)
        plain = FLOAT_BYTES * length
        ciphertext = (parameters.mask_bytes + parameters.body_bytes) / plain
        print(f"threshold sum, {participants} participants x {length:,} words of 32 bits, all words exact")
        print(
            f"  N {RING.degree}, log2 Q {RING.modulus_bits}, plaintext {parameters.plain_bits} bits, "
            f"{parameters.regions[-1].slots} words a coefficient, flood 2^{parameters.flood_bits}"
        )
        for step, taken in steps(participants, length).items():
            print(f"  {step}: {taken * 1e3:.1f} ms")
        by_phase, coordinating, up, down = play(participants, length)
        print(
            "  with the protocol around it, a participant: "
            + ", ".join(f"{phase} {taken * 1e3:.0f} ms" for phase, taken in by_phase.items())
            + f"; the coordinator {coordinating:.2f} s"
        )
        print(
            f"  a participant's bytes: ciphertext {ciphertext:.2f} x float32, all that it sends {up / plain:.2f} x "
            f"(aim: at most {AIM:g}), all that it receives {down / plain:.2f} x"
        )


if __name__ == "__main__":
    main()
