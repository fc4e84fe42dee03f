"""A coordinator that does as it likes gets the signed survivors' sum opened, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum import coefficients, slots
from foedus.privacy.encrypted_sum.coefficients import Coefficients
from foedus.privacy.encrypted_sum.linear_check import hashed
from foedus.privacy.encrypted_sum.messages import EncryptedVector, OpenedSum, SealedSeeds, SeedDelivery, SumToOpen
from foedus.privacy.encrypted_sum.parameters import DEGREE, choose
from foedus.privacy.encrypted_sum.secrets import SumSecrets
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.kinds import Draft
from foedus.privacy.secure_sum.messages import Agreement, Confirmation, SurvivorList
from foedus.privacy.secure_sum.roster import Advertisement, Roster
from foedus.privacy.secure_sum.terms import Rules
from privacy.encrypted_sum.encrypted_play import LAYOUT, Coordinated
from privacy.secure_sum.federations import entropy, plain_sum

COUNT = 4
RULES = Rules(min_cohort=2, threshold=3)
NOT_THE_SUM = "is not the sum of what the signed survivors sent"


class Malicious(Coordinated):
    """A coordinator by hand: honest until it has everybody's ciphertexts."""

    def __init__(self, round_number: int = 0, rules: Rules = RULES) -> None:
        super().__init__(COUNT, round_number, rules)
        self.shown = [Advertisement.decode(answer) for answer in self.invite().values()]
        self.roster = Roster.of(self.shown)
        self.names = self.roster.names

    def deliveries(self) -> Mapping[str, SeedDelivery]:
        answers = self.ask(dict.fromkeys(self.names, self.roster.encode()))
        sealed = {self.roster.places[name]: SealedSeeds.decode(answer).sealed for name, answer in answers.items()}
        sharers = tuple(range(COUNT))
        return {
            name: SeedDelivery(self.roster.digest, sharers, {i: sealed[i][own] for i in sharers if i != own})
            for own, name in enumerate(self.names)
        }

    def gather(self) -> None:
        answers = self.ask({name: delivery.encode() for name, delivery in self.deliveries().items()})
        sent = [EncryptedVector.decode(answers[name]) for name in self.names]
        parameters = self.kind.parameters
        count = slots.ciphertexts_of(LAYOUT, parameters)
        self.tags = [one.tag for one in sent]
        self.ciphertexts = [coefficients.from_bytes(one.words, count, parameters) for one in sent]

    def agree(self, survivors: Sequence[int] = range(COUNT)) -> Agreement:
        listed = SurvivorList(self.roster.digest, tuple(survivors)).encode()
        answers = self.ask({self.names[index]: listed for index in survivors})
        return Agreement({index: Confirmation.decode(answers[self.names[index]]).signature for index in survivors})

    def combination(self, factors: Sequence[int]) -> tuple[Coefficients, int]:
        """Return a sum of everybody's ciphertexts, and of tags, with such factors."""
        total, parameters = coefficients.zeros(len(self.ciphertexts[0])), self.kind.parameters
        for factor, ciphertext in zip(factors, self.ciphertexts, strict=True):
            for _ in range(factor):
                coefficients.add_in_place(total, ciphertext, parameters)
        tag = sum(factor * tag for factor, tag in zip(factors, self.tags, strict=True))
        return total, tag % parameters.modulus

    def question(self, agreement: Agreement, total: Coefficients, tag: int) -> bytes:
        return SumToOpen(agreement, tag, coefficients.to_bytes(total, self.kind.parameters)).encode()


def test_an_honest_coordinator_gets_the_sum_opened_once() -> None:
    run = Malicious()
    run.gather()
    question = run.question(run.agree(), *run.combination([1] * COUNT))
    name = run.names[2]
    opened = OpenedSum.decode(run.ask({name: question})[name])
    expected = plain_sum(list(run.vectors.values()), LAYOUT)
    for got, want in zip(LAYOUT.from_bytes(opened.words), expected, strict=True):
        assert np.array_equal(got, want)
    assert run.is_over(name)


@pytest.mark.parametrize(
    "factors",
    [[1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0], [2, 1, 1, 1], [2, 0, 1, 1], [4, 0, 0, 0], [0, 0, 0, 0], [2, 2, 2, 2]],
)
def test_a_subset_one_participant_or_other_multiplicities_are_not_opened(factors: list[int]) -> None:
    run = Malicious()
    run.gather()
    question = run.question(run.agree(), *run.combination(factors))
    for name in run.names:
        assert NOT_THE_SUM in run.refusal(name, question)


def test_one_that_the_survivors_did_not_sign_is_not_opened_with_them() -> None:
    run = Malicious()
    run.gather()
    agreement = run.agree((0, 1, 2))
    assert NOT_THE_SUM in run.refusal(run.names[0], run.question(agreement, *run.combination([1, 1, 1, 1])))
    opened = run.ask({run.names[1]: run.question(agreement, *run.combination([1, 1, 1, 0]))})
    words = LAYOUT.from_bytes(OpenedSum.decode(opened[run.names[1]]).words)
    expected = plain_sum([run.vectors[name] for name in run.names[:3]], LAYOUT)
    assert all(np.array_equal(got, want) for got, want in zip(words, expected, strict=True))


def test_two_who_open_cannot_be_given_two_sets_of_survivors() -> None:
    """Their difference would be one participant's vector. Who has signed one list signs no other."""
    run = Malicious()
    run.gather()
    run.agree()
    shorter = SurvivorList(run.roster.digest, (0, 1, 2)).encode()
    assert "is of kind 8; expected is 23" in run.refusal(run.names[0], shorter)
    fresh = Malicious(1)
    fresh.gather()
    names = fresh.names
    first = fresh.ask(dict.fromkeys(names[:2], SurvivorList(fresh.roster.digest, (0, 1, 2, 3)).encode()))
    second = fresh.ask(dict.fromkeys(names[2:3], SurvivorList(fresh.roster.digest, (0, 1, 2)).encode()))
    both = {index: Confirmation.decode({**first, **second}[names[index]]).signature for index in range(3)}
    question = fresh.question(Agreement(both), *fresh.combination([1, 1, 1, 1]))
    assert "not signed with the key that is pinned" in fresh.refusal(names[0], question)
    alone = fresh.question(Agreement({index: both[index] for index in (0, 1)}), *fresh.combination([1, 1, 1, 1]))
    assert "2 participants signed the list of survivors; 3 must" in fresh.refusal(names[1], alone)


def test_ciphertexts_of_an_earlier_round_are_not_opened() -> None:
    earlier = Malicious(0)
    earlier.gather()
    later = Malicious(1)
    later.gather()
    agreement = later.agree()
    total, tag = later.combination([0, 1, 1, 1])
    coefficients.add_in_place(total, earlier.ciphertexts[0], later.kind.parameters)
    question = later.question(agreement, total, (tag + earlier.tags[0]) % later.kind.parameters.modulus)
    assert NOT_THE_SUM in later.refusal(later.names[0], question)
    whole = later.question(agreement, *earlier.combination([1, 1, 1, 1]))
    assert NOT_THE_SUM in later.refusal(later.names[1], whole)


def masked(run: Malicious, total: Coefficients) -> Coefficients:
    """Return all but one participant's coefficients away in half of the places, and that one's doubled."""
    changed = total.copy()
    changed[..., : DEGREE // 2] = run.ciphertexts[0][..., : DEGREE // 2]
    return changed


def scaled(run: Malicious, total: Coefficients) -> Coefficients:
    """Return everything but the first number times two, as a plaintext factor would."""
    modulus = run.kind.parameters.modulus
    changed = total.copy()
    changed[..., 1:] = np.array([2 * int(c) % modulus for c in total[..., 1:].reshape(-1)], dtype=np.uint64).reshape(
        changed[..., 1:].shape
    )
    return changed


def nudged(run: Malicious, total: Coefficients) -> Coefficients:
    """Return one coefficient more by one."""
    changed = total.copy()
    changed[0, 1, 17] = (int(changed[0, 1, 17]) + 1) % run.kind.parameters.modulus
    return changed


def shifted(run: Malicious, total: Coefficients) -> Coefficients:
    """Return a constant more in one polynomial, as adding a known plaintext would."""
    changed = total.copy()
    coefficients.add_in_place(changed, np.full_like(changed, 12345), run.kind.parameters)
    return changed


@pytest.mark.parametrize("attack", [masked, scaled, nudged, shifted])
def test_slots_that_were_masked_scaled_or_changed_are_not_opened(
    attack: Callable[[Malicious, Coefficients], Coefficients],
) -> None:
    run = Malicious()
    run.gather()
    agreement = run.agree()
    total, tag = run.combination([1] * COUNT)
    assert NOT_THE_SUM in run.refusal(run.names[0], run.question(agreement, attack(run, total), tag))


def test_a_hash_under_a_key_of_ones_own_makes_no_tag_that_passes() -> None:
    """The coordinator knows how tags are made, but neither the key nor the pads."""
    run = Malicious()
    run.gather()
    parameters = run.kind.parameters
    total, tag = run.combination([1] * COUNT)
    changed = nudged(run, total)
    guess = (tag + hashed(changed, bytes(32), parameters) - hashed(total, bytes(32), parameters)) % parameters.modulus
    assert NOT_THE_SUM in run.refusal(run.names[0], run.question(run.agree(), changed, guess))


def test_the_check_passes_for_one_tag_only_and_pads_are_per_participant() -> None:
    parameters = choose(COUNT)
    secrets = SumSecrets(parameters, b"r" * 32, b"s" * 32)
    numbers = np.random.default_rng(0)
    one, other = (numbers.integers(0, parameters.modulus, (2, 2, DEGREE), dtype=np.uint64) for _ in range(2))
    total = one.copy()
    coefficients.add_in_place(total, other, parameters)
    tag = (secrets.tag(one, "a") + secrets.tag(other, "b")) % parameters.modulus
    secrets.check(total, tag, ["a", "b"])
    for owners in (["a"], ["b"], ["a", "a"], ["a", "b", "c"], ["a", "c"], []):
        with pytest.raises(SecureSumError, match=NOT_THE_SUM):
            secrets.check(total, tag, owners)
    for step in (1, -1, 1 << 20, parameters.modulus // 2):
        with pytest.raises(SecureSumError, match=NOT_THE_SUM):
            secrets.check(total, (tag + step) % parameters.modulus, ["a", "b"])
    with pytest.raises(SecureSumError, match=NOT_THE_SUM):
        replace(secrets, roster=b"q" * 32).check(total, tag, ["a", "b"])
    assert "ssss" not in repr(secrets)


def test_the_hash_is_the_inner_product_with_the_keystream() -> None:
    for count in (10, 100):
        parameters = choose(count)
        numbers = np.random.default_rng(count).integers(0, parameters.modulus, (17, 2, DEGREE), dtype=np.uint64)
        numbers[3] = parameters.modulus - 1
        stream = Cipher(algorithms.AES256(b"k" * 32), modes.CTR(bytes(16))).encryptor().update(bytes(numbers.nbytes))
        mask = (1 << (parameters.modulus_bits - 1)) - 1
        expected = sum(
            (int(r) & mask) * int(c)
            for r, c in zip(np.frombuffer(stream, dtype="<u8"), numbers.reshape(-1), strict=True)
        )
        assert hashed(numbers, b"k" * 32, parameters) == expected % parameters.modulus


# Who shares seeds, and with whom.


def test_a_seed_that_its_owner_did_not_commit_to_is_refused() -> None:
    run = Malicious()
    deliveries = run.deliveries()
    name, delivery = run.names[0], deliveries[run.names[0]]
    other = replace(delivery, sealed={**delivery.sealed, 1: delivery.sealed[2]})
    assert "does not open" in run.refusal(name, other.encode())
    # A participant that seals two different seeds: the route is right, the commitment is not.
    receiver = run.names[2]
    own = keys.RoundKeys.create(entropy("round", 0, run.names[1]))
    secret = keys.agreed(own.channel_side, run.roster.members[2].channel_key)
    forged = keys.seal(secret, run.roster.digest, (run.names[1], receiver), b"x" * 32)
    delivery = deliveries[receiver]
    assert "not the one that it committed to" in run.refusal(
        receiver, replace(delivery, sealed={**delivery.sealed, 1: forged}).encode()
    )


def test_seeds_must_be_those_of_all_who_shared_and_of_enough() -> None:
    run = Malicious()
    deliveries = run.deliveries()
    first, second, third, fourth = (deliveries[name] for name in run.names)
    fewer = replace(first, sharers=(0, 1), sealed={1: first.sealed[1]})
    assert "2 participants shared their seeds; 3 must" in run.refusal(run.names[0], fewer.encode())
    hidden = replace(second, sealed={0: second.sealed[0], 2: second.sealed[2]})
    assert "not exactly the seeds" in run.refusal(run.names[1], hidden.encode())
    without = replace(third, sharers=(0, 1, 3), sealed={index: third.sealed[index] for index in (0, 1, 3)})
    assert "leaves it out" in run.refusal(run.names[2], without.encode())
    another = replace(fourth, roster=b"q" * 32)
    assert "another roster" in run.refusal(run.names[3], another.encode())


def test_with_different_seeds_told_to_different_participants_nothing_opens() -> None:
    run = Malicious()
    messages = {}
    for place, (name, delivery) in enumerate(run.deliveries().items()):
        sharers = (0, 1, 2) if place < 3 else (0, 1, 2, 3)
        messages[name] = replace(
            delivery, sharers=sharers, sealed={index: delivery.sealed[index] for index in sharers if index != place}
        )
    answers = run.ask({name: message.encode() for name, message in messages.items()})
    sent = [EncryptedVector.decode(answers[name]) for name in run.names]
    parameters = run.kind.parameters
    run.tags = [one.tag for one in sent]
    run.ciphertexts = [coefficients.from_bytes(one.words, 1, parameters) for one in sent]
    assert "cannot have" in run.refusal(run.names[0], SurvivorList(run.roster.digest, (0, 1, 2, 3)).encode())
    listed = SurvivorList(run.roster.digest, (1, 2, 3)).encode()
    assert "cannot have" in run.refusal(run.names[1], listed)
    signature = Confirmation.decode(run.ask({run.names[3]: listed})[run.names[3]]).signature
    question = run.question(Agreement({3: signature}), *run.combination([0, 1, 1, 1]))
    assert "1 participants signed the list of survivors; 3 must" in run.refusal(run.names[3], question)


def test_a_round_is_answered_once_and_opened_once_whatever_its_terms() -> None:
    run = Malicious()
    run.gather()
    question = run.question(run.agree(), *run.combination([1] * COUNT))
    run.ask({run.names[0]: question})
    with pytest.raises(SecureSumError, match="given before"):
        run.invite()
    notes = run.members[run.names[0]].record_once.entries  # type: ignore[attr-defined]
    assert any(name.startswith("opening 'task' 'run' 0 'update'") for name in notes)
    others = run.members[run.names[1]].record_once.entries  # type: ignore[attr-defined]
    assert not any(name.startswith("opening") for name in others)


def test_a_sum_is_on_record_before_it_is_decrypted() -> None:
    run = Malicious()
    run.gather()
    question = run.question(run.agree(), *run.combination([1] * COUNT))
    name = run.names[0]
    run.members[name].record_once({"opening 'task' 'run' 0 'update'": b""})
    assert "given before" in run.refusal(name, question)


def test_more_participants_than_the_encryption_is_for_are_refused() -> None:
    run = Malicious()
    fewer = type(run.kind)(choose(3))
    for name, member in run.members.items():
        side = fewer.take_part(
            replace(member, record_once=lambda entries: None),
            run.terms,
            run.terms.encode(),
            Draft(run.vectors[name]),
            entropy("round", 0, name),
        )
        next(side)
        run.sides[name] = side
    # The advertisements are the same, being made of the same entropy.
    assert "4 participants are on the roster; the encryption is for 3" in run.refusal(run.names[0], run.roster.encode())
