"""Sums through the scheme are exact; the parameters leave the stated room; a missing or wrong part shows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.masks import Layout, Vector
from foedus.privacy.threshold.parameters import FLOOD_SECURITY_BITS, MOST_PARTICIPANTS, Parameters, choose
from foedus.privacy.threshold.ring import LIMB_BITS, RING, Ring
from foedus.privacy.threshold.scheme import (
    Ciphertext,
    KeyShare,
    RunningRows,
    combine,
    create_key_share,
    encrypt,
    joint_key,
    partially_decrypt,
)
from privacy.secure_sum.federations import entropy, plain_sum, vector_of
from privacy.threshold.threshold_federations import LAYOUT, SMALL

TRANSCRIPT = b"terms"
ONE_MILLION = Layout(((64, 10), (32, 1_000_000)))


def keys_of(ring: Ring, count: int) -> list[KeyShare]:
    return [create_key_share(ring, TRANSCRIPT, entropy("key", index)) for index in range(count)]


def encrypted(parameters: Parameters, shares: list[KeyShare], vectors: list[Vector]) -> list[Ciphertext]:
    key = joint_key(parameters.ring, TRANSCRIPT, [share.public for share in shares])
    return [encrypt(vector, parameters, key, entropy("encrypt", at)) for at, vector in enumerate(vectors)]


def opened(
    parameters: Parameters, shares: list[KeyShare], ciphertexts: list[Ciphertext], bodies: list[Ciphertext]
) -> Vector:
    """Return what decrypting the ciphertexts' masks makes of these bodies."""
    masks, total = RunningRows.of_masks(parameters), RunningRows.of_bodies(parameters)
    for one in ciphertexts:
        masks.add(one.mask, times=2)
    for one in bodies:
        total.add(one.body, times=2)
    for index, share in enumerate(shares):
        total.add(partially_decrypt(masks, share, parameters, entropy("open", index)))
    return combine(total, parameters)


def same(left: Vector, right: Vector) -> bool:
    return all((one == other).all() for one, other in zip(left, right, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    counts=st.tuples(*[st.integers(0, 60)] * 4).filter(any),
    participants=st.integers(2, 9),
    filled=st.sampled_from(["random", "all ones", "zero"]),
)
def test_sums_are_exact_whatever_the_words(counts: tuple[int, ...], participants: int, filled: str) -> None:
    """All words at their most is where a slot would run over into the next."""
    layout = Layout(tuple((width, count) for width, count in zip((64, 32, 16, 8), counts, strict=True) if count))
    parameters = choose(layout, participants, SMALL)
    shares = keys_of(SMALL, participants)
    fill = {"all ones": b"\xff" * layout.byte_size, "zero": bytes(layout.byte_size)}
    vectors = [
        layout.from_bytes(fill.get(filled, bytes(entropy("v", index).draw(layout.byte_size))))
        for index in range(participants)
    ]
    ciphertexts = encrypted(parameters, shares, vectors)
    assert same(opened(parameters, shares, ciphertexts, ciphertexts), plain_sum(vectors, layout))


@pytest.mark.parametrize("participants", [2, 5])
def test_sums_are_exact_in_the_ring_in_use(participants: int) -> None:
    layout = Layout(((64, 9), (32, 300_001)))  # more than two polynomials' worth
    parameters = choose(layout, participants)
    shares = keys_of(RING, participants)
    vectors = [vector_of(index, layout) for index in range(participants)]
    ciphertexts = encrypted(parameters, shares, vectors)
    assert parameters.polynomials == 3
    assert [len(one.mask) for one in ciphertexts] == [parameters.mask_bytes] * participants
    assert same(opened(parameters, shares, ciphertexts, ciphertexts), plain_sum(vectors, layout))


def test_every_key_holder_is_needed() -> None:
    """With one of the parts missing, and even with all others' secrets, what comes out is not the sum."""
    parameters = choose(LAYOUT, 3, SMALL)
    shares = keys_of(SMALL, 3)
    ciphertexts = encrypted(parameters, shares, [vector_of(index, LAYOUT) for index in range(3)])
    for missing in range(3):
        with pytest.raises(SecureSumError, match="do not fit together"):
            opened(parameters, shares[:missing] + shares[missing + 1 :], ciphertexts, ciphertexts)


def test_a_part_for_another_sum_or_a_changed_one_does_not_fit() -> None:
    parameters = choose(LAYOUT, 3, SMALL)
    shares = keys_of(SMALL, 3)
    ciphertexts = encrypted(parameters, shares, [vector_of(index, LAYOUT) for index in range(3)])
    with pytest.raises(SecureSumError, match="do not fit together"):
        opened(parameters, shares, ciphertexts, ciphertexts[:1])  # opens the sum, but shows one body
    changed = Ciphertext(bytes(entropy("another").draw(parameters.mask_bytes)), ciphertexts[0].body)
    with pytest.raises(SecureSumError, match="do not fit together"):
        opened(parameters, shares, [changed, *ciphertexts[1:]], ciphertexts)


@pytest.mark.parametrize("participants", [2, 3, 5, 8, 9, 16, 32])
@pytest.mark.parametrize("count", [1, 1_000_000, 22_000_000])
def test_parameters_leave_room_for_the_greatest_noise_and_enough_flood(participants: int, count: int) -> None:
    layout = Layout(((64, 10), (32, count)))
    chosen = choose(layout, participants)
    coefficients, degree = chosen.polynomials * RING.degree, RING.degree
    honest = 2 * (participants**2 * 2 * 21 * degree + 21 * participants)
    proved = 2**31 * degree  # what the parts of twice a proved element stay below
    deviating = participants * (2 * 21 + 2) * participants * degree * proved
    distance = coefficients * (honest + deviating) / 2 ** (chosen.flood_bits + 1)
    assert 2 ** -(FLOOD_SECURITY_BITS + 1) < distance <= 2**-FLOOD_SECURITY_BITS
    cut_away = 3 * participants * 2 ** (LIMB_BITS * chosen.dropped_limbs)
    greatest = participants * 2**chosen.flood_bits + honest + deviating + cut_away
    assert greatest <= chosen.noise_bound < 2 ** (chosen.plain_shift - 1)
    for region in chosen.regions:
        assert participants * (2**region.piece_bits - 1) < 2**region.slot_bits
        assert region.slots * region.slot_bits <= chosen.plain_bits
        assert region.slots * (region.stop - region.start) >= region.pieces
    assert all(one.stop == other.start for one, other in pairwise(chosen.regions))


def test_noise_of_a_sum_without_floods_has_the_variance_of_its_parts() -> None:
    """Root mean square over 16384 coefficients: its deviation is 0.6 %. Errors a third off would show."""
    participants = 3
    parameters = choose(Layout(((32, 8),)), participants)
    shares = keys_of(RING, participants)
    key = joint_key(RING, TRANSCRIPT, [share.public for share in shares])
    masks = np.zeros((RING.limbs, RING.degree), dtype=np.int64)
    bodies = np.zeros((RING.limbs, RING.degree), dtype=np.int64)
    whole = Parameters(parameters.layout, participants, parameters.plain_bits, 1, parameters.regions)  # nothing cut
    for index in range(participants):
        one = encrypt(parameters.layout.zeros(), whole, key, entropy("noise", index))
        masks += RING.read(one.mask)
        bodies += RING.read(one.body)
    spectrum = RING.spectrum(RING.settled(masks))
    for share in shares:
        bodies += RING.product(spectrum, RING.spectrum(share.secret.factor))
    limbs = RING.settled(bodies).astype(np.float64)
    low = limbs[0] + limbs[1] * 2.0**24
    noise = np.where(low >= 2.0**47, low - 2.0**48, low)
    expected = math.sqrt(10.5 * (4 * RING.degree * participants**2 / 3 + participants))
    assert abs(math.sqrt(float((noise**2).mean())) / expected - 1) < 0.06


def test_a_million_values_of_five_take_the_stated_bytes() -> None:
    parameters = choose(ONE_MILLION, 5)
    plain = 4 * 1_000_000
    assert (parameters.mask_bytes + parameters.body_bytes) / plain < 3.1
    assert (parameters.mask_bytes + 2 * parameters.body_bytes) / plain < 4.5


def test_a_vector_that_is_too_long_is_refused() -> None:
    with pytest.raises(SecureSumError, match="too long for a threshold sum"):
        choose(Layout(((32, 200_000_000),)), 5)


def test_too_few_and_too_many_key_holders_are_refused() -> None:
    for count in (0, 1, MOST_PARTICIPANTS + 1):
        with pytest.raises(SecureSumError, match="Use masks"):
            choose(LAYOUT, count)


def test_secrets_are_hidden_from_what_is_printed() -> None:
    share = create_key_share(SMALL, TRANSCRIPT, entropy("key"))
    assert repr(share.secret) == "Short()"
    assert "secret" not in repr(share)
