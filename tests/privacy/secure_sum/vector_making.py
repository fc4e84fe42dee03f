"""Test vectors of one secure sum, with every intermediate value: run as a program, it prints them.

Four participants; the second vanishes before it sends its masked vector. Bytes are hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from foedus.core.entropy import Entropy
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.coordinator import sum_securely
from foedus.privacy.secure_sum.keys import RoundKeys
from foedus.privacy.secure_sum.masks import Layout, mask_of
from foedus.privacy.secure_sum.participant import Member, take_part
from foedus.privacy.secure_sum.roster import Advertisement, Roster
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.signing.identity import Identity

LAYOUT = Layout(((64, 2), (32, 3), (16, 1), (8, 5)))
NAMES = ("amber", "birch", "cedar", "dünen")
VANISHED = "birch"
TERMS = Terms("clinics", "run-1", 3, "update", bytes(range(32)), bytes(range(32, 64)), Rules(), LAYOUT)


def stream_of(name: str) -> Entropy:
    return Entropy.kept(bytes([NAMES.index(name)]) * 32)


def vector_bytes(name: str) -> bytes:
    start = 40 * NAMES.index(name)
    return bytes((start + 7 * index) % 256 for index in range(LAYOUT.byte_size))


def made() -> Mapping[str, Any]:
    identities = {name: Identity.from_seed(bytes([16 + index]) * 32) for index, name in enumerate(NAMES)}
    pinned = {name: key.public for name, key in identities.items()}
    sent: dict[str, dict[str, list[str]]] = {name: {"received": [], "answered": []} for name in NAMES}
    coordinator = sum_securely(TERMS, NAMES, pinned)
    sides = {}
    outcome = None
    messages = next(coordinator)
    phase = 0
    while outcome is None:
        for name, message in (messages or {}).items():
            if name == VANISHED and phase >= 2:
                continue
            sent[name]["received"].append(message.hex())
            if phase == 0:
                member = Member(name, identities[name], pinned, lambda entries: None)
                sides[name] = take_part(member, TERMS, message, LAYOUT.from_bytes(vector_bytes(name)), stream_of(name))
                answer = bytes(next(sides[name]))
            else:
                answer = bytes(sides[name].send(message))
            sent[name]["answered"].append(answer.hex())
            coordinator.send((name, answer))
        try:
            messages = coordinator.send(None)
        except StopIteration as finished:
            outcome = finished.value
        phase += 1
    roster = Roster.of([Advertisement.decode(bytes.fromhex(sent[name]["answered"][0])) for name in NAMES])
    round_keys = {name: RoundKeys.create(stream_of(name)) for name in NAMES}
    assert outcome.total is not None
    return {
        "about": "one sum of four participants, the second of whom vanishes before it sends its masked vector",
        "terms": {"encoded": TERMS.encode().hex(), "digest": TERMS.digest().hex()},
        "roster": {"encoded": roster.encode().hex(), "digest": roster.digest.hex()},
        "participants": {
            name: {
                "identity_private": identities[name].private_key.private_bytes_raw().hex(),
                "identity_public": pinned[name].hex(),
                "entropy_key": (bytes([NAMES.index(name)]) * 32).hex(),
                "channel_private": round_keys[name].channel.hex(),
                "mask_private": round_keys[name].mask.hex(),
                "seed": round_keys[name].seed.hex(),
                "seed_commitment": keys.commitment(round_keys[name].seed).hex(),
                "own_mask_key": keys.own_mask_key(round_keys[name].seed, roster.digest, name).hex(),
                "own_mask": LAYOUT.to_bytes(
                    mask_of(keys.own_mask_key(round_keys[name].seed, roster.digest, name), LAYOUT)
                ).hex(),
                "vector": vector_bytes(name).hex(),
                **sent[name],
            }
            for name in NAMES
        },
        "pairs": [
            pair(one, other, round_keys, roster) for index, one in enumerate(NAMES) for other in NAMES[index + 1 :]
        ],
        "survivors": list(outcome.survivors),
        "total": LAYOUT.to_bytes(outcome.total).hex(),
        "bad": bad(sent, roster),
    }


def pair(one: str, other: str, round_keys: Mapping[str, RoundKeys], roster: Roster) -> Mapping[str, Any]:
    mask_secret = keys.agreed(round_keys[one].mask_side, keys.public_key(round_keys[other].mask))
    key = keys.pair_mask_key(mask_secret, roster.digest, one, other)
    return {
        "participants": [one, other],
        "channel_secret": keys.agreed(round_keys[one].channel_side, keys.public_key(round_keys[other].channel)).hex(),
        "mask_secret": mask_secret.hex(),
        "mask_key": key.hex(),
        "mask": LAYOUT.to_bytes(mask_of(key, LAYOUT)).hex(),
    }


def bad(sent: Mapping[str, Mapping[str, list[str]]], roster: Roster) -> list[Mapping[str, Any]]:
    """Return messages to the first participant, in the place of the one it got, and what the refusal says."""
    received = [bytes.fromhex(message) for message in sent[NAMES[0]]["received"]]
    without_one = Roster(roster.members[:-1])
    reordered = Roster((roster.members[1], roster.members[0], *roster.members[2:]))
    flipped = [message[:-1] + bytes([message[-1] ^ 1]) for message in received]
    return [
        {"phase": 0, "message": flipped[0].hex(), "refusal": "layout is"},
        {"phase": 0, "message": received[1].hex(), "refusal": "is of kind 3; expected is 1"},
        {"phase": 0, "message": received[0][:40].hex(), "refusal": "is cut short"},
        {"phase": 1, "message": flipped[1].hex(), "refusal": "is not signed with the key that is pinned"},
        {"phase": 1, "message": reordered.encode().hex(), "refusal": "out of order"},
        {"phase": 1, "message": Roster(roster.members[:2]).encode().hex(), "refusal": "min_cohort is 3"},
        {
            "phase": 1,
            "message": Roster(roster.members[1:]).encode().hex(),
            "refusal": "does not hold what amber showed",
        },
        {"phase": 2, "message": flipped[2].hex(), "refusal": "does not open"},
        {"phase": 2, "message": (received[2][:-100]).hex(), "refusal": "more than it can hold"},
        {
            "phase": 2,
            "message": received[2].replace(roster.digest, without_one.digest).hex(),
            "refusal": "another roster",
        },
        {"phase": 3, "message": flipped[3].hex(), "refusal": "out of order, or something twice"},
        {"phase": 3, "message": received[4].hex(), "refusal": "is of kind 10; expected is 8"},
        {"phase": 4, "message": flipped[4].hex(), "refusal": "is not signed with the key that is pinned"},
        {"phase": 4, "message": received[4][:-1].hex(), "refusal": "more than it can hold"},
    ]


if __name__ == "__main__":
    print(json.dumps(made(), indent=1, ensure_ascii=True))  # noqa: T201
