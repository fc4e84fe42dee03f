"""Bytes that anybody may have made: decoders refuse with a reason, or return what encodes to the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum import coefficients
from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.messages import (
    SEALED_SEED_BYTES,
    EncryptedVector,
    OpenedSum,
    SealedSeeds,
    SeedDelivery,
    SumToOpen,
)
from foedus.privacy.encrypted_sum.parameters import DEGREE, choose
from foedus.privacy.secure_sum.messages import Agreement
from foedus.privacy.secure_sum.terms import Rules
from privacy.encrypted_sum.encrypted_play import LAYOUT, vectors_of
from privacy.secure_sum.federations import members_of, plain_sum, play, terms_of
from privacy.secure_sum.test_secure_sum_decoders import mutated

CASES = 4_000  # for each of five decoders


class Encodable(Protocol):
    def encode(self) -> bytes: ...


ROSTER = b"r" * 32
SEALED = {1: b"a" * SEALED_SEED_BYTES, 4: b"b" * SEALED_SEED_BYTES}
SAMPLES: Mapping[Callable[[bytes], Encodable], Encodable] = {
    SealedSeeds.decode: SealedSeeds(ROSTER, SEALED),
    SeedDelivery.decode: SeedDelivery(ROSTER, (0, 1, 4), SEALED),
    EncryptedVector.decode: EncryptedVector(ROSTER, 77, b"words"),
    SumToOpen.decode: SumToOpen(Agreement({0: b"s" * 64, 2: b"t" * 64}), 99, b"words"),
    OpenedSum.decode: OpenedSum(ROSTER, b"words"),
}


@pytest.mark.parametrize("decode", SAMPLES, ids=lambda decode: decode.__self__.__name__)
def test_whatever_comes_is_refused_by_name_or_is_what_encodes_to_it(decode: Callable[[bytes], Encodable]) -> None:
    sample = SAMPLES[decode].encode()
    assert decode(sample).encode() == sample
    draw, refused = random.Random(str(decode)), 0  # noqa: S311 - cases to try, nothing secret
    for _ in range(CASES):
        data = mutated(sample, draw)
        try:
            assert decode(data).encode() == data
        except SecureSumError:
            refused += 1
    assert refused > CASES // 20


@pytest.mark.parametrize("participants", [4, 100])
def test_coefficients_come_back_as_they_went_and_only_below_the_modulus(participants: int) -> None:
    parameters = choose(participants)
    numbers = np.random.default_rng(0).integers(0, parameters.modulus, (2, 2, DEGREE), dtype=np.uint64)
    numbers[1, 0, 5] = parameters.modulus - 1
    encoded = coefficients.to_bytes(numbers, parameters)
    assert len(encoded) == coefficients.byte_size(2, parameters)
    assert np.array_equal(coefficients.from_bytes(encoded, 2, parameters), numbers)
    numbers[1, 0, 5] = parameters.modulus
    with pytest.raises(SecureSumError, match="not below the modulus"):
        coefficients.from_bytes(coefficients.to_bytes(numbers, parameters), 2, parameters)
    for wrong in (encoded[:-1], encoded + b"\x00", b""):
        with pytest.raises(SecureSumError, match="2 ciphertexts have"):
            coefficients.from_bytes(wrong, 2, parameters)


def test_sums_of_coefficients_are_reduced() -> None:
    parameters = choose(4)
    numbers = np.random.default_rng(1).integers(0, parameters.modulus, (3, 1, 2, DEGREE), dtype=np.uint64)
    numbers[:, 0, 0, 0] = parameters.modulus - 1
    numbers[:, 0, 0, 1] = [0, parameters.modulus - 1, 1]
    total = coefficients.zeros(1)
    for each in numbers:
        coefficients.add_in_place(total, each, parameters)
    expected = [sum(int(c) for c in column) % parameters.modulus for column in numbers.reshape(3, -1).T]
    assert total.reshape(-1).tolist() == expected


@pytest.mark.parametrize("phase", range(5))
@pytest.mark.parametrize("way", ["down", "up"])
def test_whatever_is_changed_on_its_way_the_sum_is_right_or_there_is_none(phase: int, way: str) -> None:
    """One participant's messages of one exchange, changed; the coordinator and the others go on, or say why not."""
    draw, vectors, kind = random.Random(f"{phase} {way}"), vectors_of(4), Ckks(choose(4))  # noqa: S311 - cases to try
    left_out = 0
    for case in range(12):
        victim = draw.choice(list(vectors))

        def tamper(at: int, name: str, message: bytes, victim: str = victim) -> bytes:
            if name != victim or at != phase:
                return message
            while (changed := mutated(message, draw)) == message:
                pass
            return changed

        terms = terms_of(Rules(min_cohort=2, threshold=3), LAYOUT, case)
        if way == "down":
            outcome = play(terms, members_of(4), vectors, kind=kind, down=tamper)
        else:
            outcome = play(terms, members_of(4), vectors, kind=kind, up=tamper)
        left_out += victim in outcome.left_out
        if outcome.total is None:
            assert outcome.reason
            assert (phase, way) in {(1, "up"), (2, "up")}  # seeds and vectors that others find to be wrong
        elif (phase, way) != (4, "up"):  # that the one who opens the sum tells the truth is not checked
            expected = plain_sum([vectors[name] for name in outcome.survivors], LAYOUT)
            assert all(np.array_equal(got, want) for got, want in zip(outcome.total, expected, strict=True))
    assert phase >= 3 or left_out >= 10  # all but a vector that is another one's by chance
