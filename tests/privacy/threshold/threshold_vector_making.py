"""Test vectors of one threshold sum, with every intermediate value: run as a program, it prints them.

Four participants; the second vanishes before it shows its key share. Bytes are hexadecimal.
The ring has 16 coefficients in place of 16384, so that the values can be printed at all; it protects nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from foedus.core.entropy import Entropy
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.participant import Member, Participation
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.signing.identity import Identity
from foedus.privacy.threshold.coordinator import sum_by_threshold
from foedus.privacy.threshold.messages import Evidence, KeyPledges, Keys, VectorPledges
from foedus.privacy.threshold.parameters import Parameters, choose
from foedus.privacy.threshold.participant import take_part
from foedus.privacy.threshold.proof import ROWS
from foedus.privacy.threshold.ring import LIMB_BITS, Loose
from foedus.privacy.threshold.sampling import common, error, flood, ternary, wide
from privacy.threshold.threshold_federations import SMALL

LAYOUT = Layout(((64, 2), (32, 73), (16, 1), (8, 5)))
NAMES = ("amber", "birch", "cedar", "dünen")
VANISHED = "birch"
HOLDERS = tuple(name for name in NAMES if name != VANISHED)
TERMS = Terms("clinics", "run-1", 3, "update", bytes(range(32)), bytes(range(32, 64)), Rules(), LAYOUT)
PARAMETERS = choose(LAYOUT, len(HOLDERS), SMALL)


def stream_of(name: str) -> Entropy:
    return Entropy.kept(bytes([NAMES.index(name)]) * 32)


def vector_bytes(name: str) -> bytes:
    start = 40 * NAMES.index(name)
    return bytes((start + 7 * index) % 256 for index in range(LAYOUT.byte_size))


def identities() -> Mapping[str, Identity]:
    return {name: Identity.from_seed(bytes([16 + index]) * 32) for index, name in enumerate(NAMES)}


def side_of(name: str, invitation: bytes) -> Participation:
    own = identities()
    member = Member(name, own[name], {each: key.public for each, key in own.items()}, lambda entries: None)
    vector = LAYOUT.from_bytes(vector_bytes(name))
    return take_part(member, TERMS, invitation, vector, stream_of(name), ring=SMALL)


def made() -> Mapping[str, Any]:
    sent: dict[str, dict[str, list[str]]] = {name: {"received": [], "answered": []} for name in NAMES}
    coordinator = sum_by_threshold(TERMS, NAMES, {name: one.public for name, one in identities().items()}, ring=SMALL)
    sides: dict[str, Participation] = {}
    outcome, messages, phase = None, next(coordinator), 0
    while outcome is None:
        for name, message in (messages or {}).items():
            if name == VANISHED and phase:
                continue
            sent[name]["received"].append(message.hex())
            if phase == 0:
                sides[name] = side_of(name, message)
            answer = bytes(sides[name].send(message) if phase else next(sides[name]))
            sent[name]["answered"].append(answer.hex())
            coordinator.send((name, answer))
        try:
            messages = coordinator.send(None)
        except StopIteration as finished:
            outcome = finished.value
        phase += 1
    assert outcome.total is not None
    return {
        "about": "one threshold sum of four participants, the second of whom vanishes before it shows its key share, "
        "in a ring of 16 coefficients that protects nobody",
        "ring": {"degree": SMALL.degree, "limbs": SMALL.limbs, "limb_bits": LIMB_BITS},
        "parameters": described(PARAMETERS),
        "terms": {"encoded": TERMS.encode().hex(), "digest": TERMS.digest().hex()},
        "common": SMALL.encode(common(SMALL, TERMS.digest())).hex(),
        "participants": {name: secrets_of(name) | sent[name] for name in NAMES},
        "survivors": list(outcome.survivors),
        "total": LAYOUT.to_bytes(outcome.total).hex(),
        "bad": bad(sent),
    }


def described(parameters: Parameters) -> Mapping[str, Any]:
    return {
        "participants": parameters.participants,
        "plain_bits": parameters.plain_bits,
        "flood_bits": parameters.flood_bits,
        "dropped_limbs": parameters.dropped_limbs,
        "polynomials": parameters.polynomials,
        "regions": [vars(region) for region in parameters.regions],
    }


def secrets_of(name: str) -> dict[str, Any]:
    """Return what a participant draws, in the order in which it draws it; of one that vanishes, what it would draw."""
    stream, identity = stream_of(name), identities()[name]
    small: dict[str, Any] = {
        "secret": ternary(SMALL, stream).tolist(),
        "key_error": error(SMALL, stream).tolist(),
        "ciphertext": [
            {
                "u": ternary(SMALL, stream).tolist(),
                "mask_error": error(SMALL, stream).tolist(),
                "body_error": error(SMALL, stream).tolist(),
            }
            for _ in range(PARAMETERS.polynomials)
        ],
        "proof_factors": [wide(SMALL, stream).tolist() for _ in range(ROWS)],
        "proof_offsets": [wide(SMALL, stream).tolist() for _ in range(ROWS)],
        "floods": [numbers(flood(SMALL, PARAMETERS.flood_bits, stream)) for _ in range(PARAMETERS.polynomials)],
    }
    return {
        "identity_private": identity.private_key.private_bytes_raw().hex(),
        "identity_public": identity.public.hex(),
        "entropy_key": (bytes([NAMES.index(name)]) * 32).hex(),
        "vector": vector_bytes(name).hex(),
        **small,
    }


def numbers(loose: Loose) -> list[int]:
    return [sum(int(limb) << (LIMB_BITS * place) for place, limb in enumerate(column)) for column in loose.T]


def bad(sent: Mapping[str, Mapping[str, list[str]]]) -> list[Mapping[str, Any]]:
    """Return messages to the first participant, in the place of the one it got, and what the refusal says."""
    received = [bytes.fromhex(message) for message in sent[NAMES[0]]["received"]]
    flipped = [message[:-1] + bytes([message[-1] ^ 1]) for message in received]
    roster, shown = KeyPledges.decode(received[1]), Keys.decode(received[2])
    listed, evidence = VectorPledges.decode(received[3]), Evidence.decode(received[4])
    fewer = VectorPledges({place: listed.pledges[place] for place in (0, 2)})
    doubled = replace(evidence, masks={**evidence.masks, 2: evidence.masks[0]})
    swapped = replace(shown, publics={**shown.publics, 2: shown.publics[3]})
    proofless = replace(evidence, proofs={**evidence.proofs, 3: evidence.proofs[2]})
    changes = [
        (0, flipped[0], "layout is"),
        (0, received[1], "is of kind 41; expected is 1"),
        (1, flipped[1], "is not signed with the key that is pinned"),
        (1, KeyPledges((roster.members[1], roster.members[0], *roster.members[2:])).encode(), "out of order"),
        (1, KeyPledges(roster.members[:2]).encode(), "min_cohort is 3"),
        (1, KeyPledges(roster.members[1:]).encode(), "does not hold what amber pledged"),
        (2, flipped[2], "another key share than it committed to"),
        (2, swapped.encode(), "cedar shows another key share than it committed to"),
        (2, received[2][:-1], "is cut short"),
        (3, flipped[3], "is not signed with the key that is pinned"),
        (3, fewer.encode(), "is not that of all who made the key"),
        (4, flipped[4], "is not shown to be a ciphertext"),
        (4, proofless.encode(), "is not shown to be a ciphertext"),
        (4, doubled.encode(), "the ciphertext shown for cedar is not the one it signed"),
        (4, received[4] + b"\x00", "1 bytes too many"),
        (4, received[3], "is of kind 45; expected is 47"),
    ]
    return [{"phase": phase, "message": message.hex(), "refusal": says} for phase, message, says in changes]


if __name__ == "__main__":
    print(json.dumps(made(), indent=1, ensure_ascii=True))  # noqa: T201
