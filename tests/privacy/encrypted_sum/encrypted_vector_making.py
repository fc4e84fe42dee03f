"""Test vectors of encrypted sums: run as a program, it prints them.

From fixed seeds, every value that does not depend on the encryption's own randomness. Bytes are hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from foedus.privacy.encrypted_sum.linear_check import hashed
from foedus.privacy.encrypted_sum.parameters import DEGREE, choose
from foedus.privacy.encrypted_sum.seal import SharedKey
from foedus.privacy.encrypted_sum.secrets import SumSecrets
from foedus.privacy.encrypted_sum.slots import pack
from foedus.privacy.secure_sum.keys import derived
from foedus.privacy.secure_sum.masks import Layout

PATH = Path(__file__).parents[2] / "vectors" / "encrypted_sum.json"
LAYOUT = Layout(((64, 1), (32, 3), (16, 1)))
PARTICIPANTS = (3, 100, 1000)


def ladder(modulus: int) -> np.ndarray:
    """Return the coefficients that hashes and tags are told of: multiples of an odd number modulo the prime."""
    return np.array([place * 0x9E3779B97F4A7C15 % modulus for place in range(2 * DEGREE)], dtype=np.uint64)


def key_digest(key: SharedKey) -> str:
    """Return a digest of the secret key's coefficients, as SEAL keeps them."""
    numbers = key._key.data()
    return sha256(np.array([numbers[place] for place in range(DEGREE)], dtype="<u8").tobytes()).hexdigest()


def made() -> Mapping[str, Any]:
    """Return all values."""
    roster, sharers = bytes(range(32)), (0, 2, 5)
    seeds = {index: bytes([index]) * 32 for index in sharers}
    sums = []
    for participants in PARTICIPANTS:
        parameters = choose(participants)
        secrets = SumSecrets.of(parameters, roster, sharers, seeds)
        coefficients = ladder(parameters.modulus).reshape(1, 2, DEGREE)
        words = (
            np.array([0xFEDCBA9876543210], dtype="<u8"),
            np.array([0, parameters.largest, -parameters.largest], dtype="<i4").view("<u4"),
            np.array([0xBEEF], dtype="<u2"),
        )
        sums.append(
            {
                "participants": participants,
                "parameters": parameters.describe(),
                "secret": secrets.secret.hex(),
                "key_seed": (
                    derived(secrets.secret, roster, b"encryption key", b"\x00")
                    + derived(secrets.secret, roster, b"encryption key", b"\x01")
                ).hex(),
                "key_digest": key_digest(secrets.key()),
                "check_key": derived(secrets.secret, roster, b"check", b"").hex(),
                "hash": hashed(coefficients, derived(secrets.secret, roster, b"check", b""), parameters),
                "tags": {name: secrets.tag(coefficients, name) for name in ("a", "b", "ü")},
                "integers": pack(words, LAYOUT, parameters)[:12].tolist(),
            }
        )
    return {
        "about": "three sharers at places 0, 2 and 5; the coefficients of tags are i · 0x9E3779B97F4A7C15 mod q",
        "roster": roster.hex(),
        "sharers": list(sharers),
        "seeds": {str(index): seed.hex() for index, seed in seeds.items()},
        "sums": sums,
    }


if __name__ == "__main__":
    print(json.dumps(made(), indent=1, ensure_ascii=True))  # noqa: T201
