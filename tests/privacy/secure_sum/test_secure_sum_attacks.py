"""A coordinator that does what it likes, and what participants answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.field import SHARES
from foedus.privacy.secure_sum.masks import Layout, add_masks_in_place
from foedus.privacy.secure_sum.messages import (
    Agreement,
    Confirmation,
    Delivery,
    MaskedVector,
    Opening,
    SealedShares,
    ShareKind,
    SurvivorList,
)
from foedus.privacy.secure_sum.participant import Member, Participation, take_part
from foedus.privacy.secure_sum.roster import Advertisement, Roster, survivors_statement
from foedus.privacy.secure_sum.shamir import combine
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.signing.identity import Identity
from privacy.secure_sum.federations import entropy, members_of, play, terms_of, vector_of

Sides = Mapping[str, Participation]


class Malicious:
    """A coordinator that talks to honest participants one by one, as it likes."""

    def __init__(self, count: int, terms: Terms | None = None) -> None:
        self.terms = terms or terms_of()
        self.members = members_of(count)
        self.names = tuple(self.members)
        self.sides: dict[str, Participation] = {}
        self.masked: dict[str, MaskedVector] = {}
        self.sealed: dict[str, SealedShares] = {}

    def to_masked_vectors(self) -> None:
        """Play honestly until every masked vector is here."""
        shown = []
        for index, (name, member) in enumerate(self.members.items()):
            self.sides[name] = take_part(
                member, self.terms, self.terms.encode(), vector_of(index, self.terms.layout), entropy(name)
            )
            shown.append(Advertisement.decode(next(self.sides[name])))
        self.roster = Roster.of(shown)
        self.sealed = {name: SealedShares.decode(side.send(self.roster.encode())) for name, side in self.sides.items()}
        for holder, name in enumerate(self.names):
            inbox = {
                source: self.sealed[other].sealed[holder] for source, other in enumerate(self.names) if other != name
            }
            delivery = Delivery(self.roster.digest, tuple(range(len(self.names))), inbox)
            self.masked[name] = MaskedVector.decode(self.sides[name].send(delivery.encode()))

    def survivors(self, *indices: int) -> bytes:
        return SurvivorList(self.roster.digest, indices).encode()


# The first published attack: a coordinator that asks for both kinds of shares of one participant.


def test_asking_for_both_share_kinds_gets_at_most_one_because_no_two_lists_of_survivors_are_agreed_on() -> None:
    """Half are told that the victim stayed, half that it vanished. Neither list gets enough signatures."""
    attack = Malicious(6)
    attack.to_masked_vectors()
    stayed, vanished = attack.survivors(0, 1, 2, 3, 4, 5), attack.survivors(1, 2, 3, 4, 5)
    signatures = {0: {}, 1: {}}  # type: dict[int, dict[int, bytes]]
    for place, name in enumerate(attack.names[1:], start=1):
        answer = attack.sides[name].send(stayed if place <= 3 else vanished)
        signatures[int(place > 3)][place] = Confirmation.decode(answer).signature
    for place, name in enumerate(attack.names[1:], start=1):
        with pytest.raises(SecureSumError, match="signed the list of survivors; 5 must"):
            attack.sides[name].send(Agreement(signatures[int(place > 3)]).encode())


def test_signatures_of_one_list_do_not_serve_for_another() -> None:
    attack = Malicious(4)
    attack.to_masked_vectors()
    stayed, vanished = attack.survivors(0, 1, 2, 3), attack.survivors(1, 2, 3)
    mixed = {
        place: Confirmation.decode(attack.sides[name].send(stayed if place == 1 else vanished)).signature
        for place, name in enumerate(attack.names[1:], start=1)
    }
    for name in attack.names[1:]:
        with pytest.raises(SecureSumError, match="is not signed with the key that is pinned"):
            attack.sides[name].send(Agreement(mixed).encode())


def test_colluders_below_the_stated_number_who_sign_everything_cannot_get_both_kinds() -> None:
    """Six participants, of whom two sign both lists: the most that the threshold of 5 tolerates is 3."""
    attack = Malicious(6)
    attack.to_masked_vectors()
    lists = (attack.survivors(0, 1, 2, 3, 4, 5), attack.survivors(1, 2, 3, 4, 5))
    honest, colluders = {1: 0, 2: 0, 3: 1}, (4, 5)
    signatures: list[dict[int, bytes]] = [{}, {}]
    for place, which in honest.items():
        answer = attack.sides[attack.names[place]].send(lists[which])
        signatures[which][place] = Confirmation.decode(answer).signature
    everyone = tuple(range(6))
    for which, survivors in enumerate((everyone, everyone[1:])):
        statement = survivors_statement(attack.roster.digest, everyone, survivors)
        for place in colluders:
            signatures[which][place] = keys.signature_of(attack.members[attack.names[place]].identity, statement)
    for place, which in honest.items():
        with pytest.raises(SecureSumError, match="signed the list of survivors; 5 must"):
            attack.sides[attack.names[place]].send(Agreement(signatures[which]).encode())


def opened(attack: Malicious, survivors: tuple[int, ...]) -> Mapping[str, Opening]:
    signatures = {
        place: Confirmation.decode(attack.sides[attack.names[place]].send(attack.survivors(*survivors))).signature
        for place in survivors
    }
    agreement = Agreement(signatures).encode()
    return {
        attack.names[place]: Opening.decode(attack.sides[attack.names[place]].send(agreement)) for place in survivors
    }


def test_after_one_kind_was_opened_a_participant_answers_nothing_more() -> None:
    attack = Malicious(4)
    attack.to_masked_vectors()
    answers = opened(attack, (1, 2, 3))
    for name, opening in answers.items():
        assert {owner: kind for owner, (kind, _) in opening.shares.items()} == {
            0: ShareKind.MASK_KEY,
            1: ShareKind.SEED,
            2: ShareKind.SEED,
            3: ShareKind.SEED,
        }
        with pytest.raises(StopIteration):
            attack.sides[name].send(attack.survivors(0, 1, 2, 3))


def test_what_the_attack_needs_is_really_in_the_shares() -> None:
    """With both kinds the victim's vector would be open: the test above guards what it seems to guard."""
    attack = Malicious(4)
    attack.to_masked_vectors()
    shares = {place: opening.shares[0][1] for place, opening in enumerate(opened(attack, (1, 2, 3)).values(), start=2)}
    mask_key = combine(shares, 3, SHARES).to_bytes(32, "big")
    assert keys.public_key(mask_key) == attack.roster.members[0].mask_key
    side = X25519PrivateKey.from_private_bytes(mask_key)
    digest, names, layout = attack.roster.digest, attack.names, attack.terms.layout
    seed = keys.RoundKeys.create(entropy(names[0])).seed  # what no holder gave
    vector = [words.copy() for words in layout.from_bytes(attack.masked[names[0]].words)]
    pairs = [
        keys.pair_mask_key(keys.agreed(side, member.mask_key), digest, names[0], member.participant)
        for member in attack.roster.members[1:]
    ]
    add_masks_in_place(tuple(vector), taken=[*pairs, keys.own_mask_key(seed, digest, names[0])])
    assert all(np.array_equal(one, other) for one, other in zip(vector, vector_of(0), strict=True))


def test_a_participant_that_crashed_does_not_answer_the_same_round_again() -> None:
    """Its memory is lost, but what it recorded is not: neither fresh keys nor the same ones come."""
    attack = Malicious(4)
    attack.to_masked_vectors()
    for name, member in attack.members.items():
        for stream in (entropy(name), Entropy.secret()):
            again = take_part(member, attack.terms, attack.terms.encode(), vector_of(9), stream)
            with pytest.raises(SecureSumError, match="an answer was given before"):
                next(again)


def test_other_rules_or_another_model_do_not_make_it_another_round() -> None:
    attack = Malicious(3)
    attack.to_masked_vectors()
    other = replace(attack.terms, model=b"n" * 32, rules=Rules(threshold=2))
    with pytest.raises(SecureSumError, match="an answer was given before"):
        next(take_part(attack.members[attack.names[0]], other, other.encode(), vector_of(0), entropy()))


def test_shares_are_recorded_before_they_leave() -> None:
    attack = Malicious(4)
    attack.to_masked_vectors()
    name = attack.names[1]
    recorded: list[Mapping[str, bytes]] = []

    def full_disk(entries: Mapping[str, bytes]) -> None:
        recorded.append(entries)
        raise OSError("no space left")

    object.__setattr__(attack.members[name], "record_once", full_disk)
    signatures = {
        place: Confirmation.decode(attack.sides[attack.names[place]].send(attack.survivors(1, 2, 3))).signature
        for place in (1, 2, 3)
    }
    with pytest.raises(OSError, match="no space left"):
        attack.sides[name].send(Agreement(signatures).encode())
    assert sorted(entry[-9:] for entry in recorded[0]) == list(attack.names)
    with pytest.raises(StopIteration):
        attack.sides[name].send(Agreement(signatures).encode())


# The second published attack: masks whose seed is small enough to try them all.


def small_seed_mask(seed: int, count: int) -> np.ndarray:
    """A mask as the attacked implementation makes it: a Mersenne Twister with a folded seed."""
    generator = random.Random(seed)  # noqa: S311
    return np.array([generator.getrandbits(32) for _ in range(count)], dtype=np.uint32)


def search(masked: np.ndarray, looks_right: Callable[[np.ndarray], bool], bits: int = 12) -> int | None:
    """Try every small seed and return the one whose mask leaves something that looks like an update."""
    return next((seed for seed in range(1 << bits) if looks_right(masked - small_seed_mask(seed, len(masked)))), None)


def looks_small(vector: np.ndarray) -> bool:
    return bool((np.abs(vector.view(np.int32)) < 1 << 20).all())


def test_the_search_for_a_small_seed_finds_masks_with_one_and_not_ours() -> None:
    layout = Layout(((32, 4),))
    secret = np.array([3, 1, 4, 1], dtype=np.uint32)
    assert search(secret + small_seed_mask(1234, 4), looks_small) == 1234
    attack = Malicious(3, terms_of(layout=layout))
    attack.to_masked_vectors()
    for name in attack.names:
        (masked,) = attack.terms.layout.from_bytes(attack.masked[name].words)
        assert search(masked.copy(), looks_small) is None


def test_every_key_of_a_mask_has_256_bits_of_its_own() -> None:
    seen = set()
    for index in range(200):
        own = keys.RoundKeys.create(entropy("round", index))
        other = keys.RoundKeys.create(entropy("other", index))
        secret = keys.agreed(own.mask_side, keys.public_key(other.mask))
        seen |= {keys.own_mask_key(own.seed, b"r" * 32, "a"), keys.pair_mask_key(secret, b"r" * 32, "a", "b")}
    assert len(seen) == 400
    bits = np.unpackbits(np.frombuffer(b"".join(sorted(seen)), dtype=np.uint8).reshape(400, 32), axis=1)
    assert (abs(bits.mean(axis=0) - 0.5) < 5 * 0.5 / 20).all()  # five standard deviations for each of 256 bits


# What participants check for themselves.


def refusal(terms: Terms, offered: Terms) -> str:
    member = next(iter(members_of(3).values()))
    with pytest.raises(SecureSumError) as caught:
        next(take_part(member, terms, offered.encode(), vector_of(0), entropy()))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": b"x" * 32}, "model is another digest"),
        ({"settings": b"x" * 32}, "settings is another digest"),
        ({"round": 1}, "round is 1, the participant's is 0"),
        ({"run": "r"}, "run is r"),
        ({"task": "t"}, "task is t"),
        ({"purpose": "evaluation"}, "purpose is evaluation"),
        ({"rules": Rules(threshold=2)}, "rules is"),
        ({"rules": Rules(min_cohort=2)}, "rules is"),
        ({"layout": Layout(((32, 8),))}, "layout is"),
    ],
)
def test_terms_that_are_not_the_participants_own_are_refused(change: dict[str, object], said: str) -> None:
    assert said in refusal(terms_of(), replace(terms_of(), **change))  # type: ignore[arg-type]


def test_two_models_in_one_round_are_noticed_though_each_participant_saw_one() -> None:
    """The coordinator tells two groups of different models; each sees the other's signatures."""
    members = members_of(4)
    other_terms = replace(terms_of(), model=b"x" * 32)
    sides, shown = {}, []
    for place, (name, member) in enumerate(members.items()):
        own = terms_of() if place < 2 else other_terms
        sides[name] = take_part(member, own, own.encode(), vector_of(place), entropy(name))
        shown.append(Advertisement.decode(next(sides[name])))
    roster = Roster.of(shown).encode()
    for side in sides.values():
        with pytest.raises(SecureSumError, match="signed other terms"):
            side.send(roster)


def test_a_roster_of_too_few_is_refused_by_participants() -> None:
    attack = Malicious(4)
    shown = {
        name: Advertisement.decode(
            next(
                attack.sides.setdefault(
                    name, take_part(member, attack.terms, attack.terms.encode(), vector_of(0), entropy(name))
                )
            )
        )
        for name, member in attack.members.items()
    }
    first, second = attack.names[:2]
    with pytest.raises(SecureSumError, match="2 participants are on the roster; min_cohort is 3"):
        attack.sides[first].send(Roster.of([shown[first], shown[second]]).encode())
    with pytest.raises(SecureSumError, match="does not hold what site-0001 showed"):
        attack.sides[second].send(Roster.of([a for name, a in shown.items() if name != second]).encode())


def test_strangers_and_forged_advertisements_are_refused() -> None:
    attack = Malicious(3)
    for name, member in attack.members.items():
        attack.sides[name] = take_part(member, attack.terms, attack.terms.encode(), vector_of(0), entropy(name))
    shown = [Advertisement.decode(next(side)) for side in attack.sides.values()]
    own = keys.RoundKeys.create(entropy("coordinator"))
    forged = Identity.from_seed(bytes(entropy("forger").draw(32)))
    stranger = Advertisement.signed(attack.terms, "stranger", own, forged)
    impostor = Advertisement.signed(attack.terms, attack.names[2], own, forged)
    with pytest.raises(SecureSumError, match="stranger is on the roster, but no key is pinned"):
        attack.sides[attack.names[0]].send(Roster.of([*shown, stranger]).encode())
    with pytest.raises(SecureSumError, match="what site-0002 showed is not signed with the key that is pinned"):
        attack.sides[attack.names[1]].send(Roster.of([*shown[:2], impostor]).encode())


def test_keys_of_an_earlier_round_are_refused() -> None:
    earlier, later = Malicious(3), Malicious(3, terms_of(round_number=1))
    old: list[Advertisement] = []
    new: list[Advertisement] = []
    for attack, shown in ((earlier, old), (later, new)):
        for name, member in attack.members.items():
            attack.sides[name] = take_part(member, attack.terms, attack.terms.encode(), vector_of(0), entropy(name))
            shown.append(Advertisement.decode(next(attack.sides[name])))
    with pytest.raises(SecureSumError, match="site-0002 signed other terms"):
        later.sides[later.names[0]].send(Roster.of([*new[:2], old[2]]).encode())


def test_shares_that_were_damaged_swapped_or_of_another_round_do_not_open() -> None:
    def deliver(change: Callable[[dict[int, bytes]], None]) -> None:
        attack = Malicious(4)
        for name, member in attack.members.items():
            attack.sides[name] = take_part(member, attack.terms, attack.terms.encode(), vector_of(0), entropy(name))
        roster = Roster.of([Advertisement.decode(next(side)) for side in attack.sides.values()])
        sealed = [SealedShares.decode(side.send(roster.encode())).sealed for side in attack.sides.values()]
        inbox = {source: sealed[source][0] for source in (1, 2, 3)}
        change(inbox)
        attack.sides[attack.names[0]].send(Delivery(roster.digest, (0, 1, 2, 3), inbox).encode())

    def swap(inbox: dict[int, bytes]) -> None:
        inbox[1], inbox[2] = inbox[2], inbox[1]

    def damage(inbox: dict[int, bytes]) -> None:
        inbox[1] = inbox[1][:-1] + bytes([inbox[1][-1] ^ 1])

    def own(inbox: dict[int, bytes]) -> None:
        inbox[0] = inbox[1]

    deliver(lambda inbox: None)
    for change, said in ((swap, "does not open"), (damage, "does not open"), (own, "not said to have shared")):
        with pytest.raises(SecureSumError, match=said):
            deliver(change)


@pytest.mark.parametrize(
    ("survivors", "said"),
    [((1, 2, 3), "leaves it out"), ((0, 1), "2 participants sent a vector; 3 must"), ((0, 1, 7), "cannot have")],
)
def test_a_list_of_survivors_without_oneself_too_short_or_with_strangers_is_not_signed(
    survivors: tuple[int, ...], said: str
) -> None:
    attack = Malicious(4)
    attack.to_masked_vectors()
    with pytest.raises(SecureSumError, match=said):
        attack.sides[attack.names[0]].send(attack.survivors(*survivors))


def test_a_wrong_share_is_noticed_and_no_wrong_sum_comes_out() -> None:
    def lie(phase: int, name: str, answer: bytes) -> bytes:
        if phase != 4 or name != "site-0000":
            return answer
        shares = dict(Opening.decode(answer).shares)
        kind, share = shares[2]
        return Opening({**shares, 2: (kind, share ^ 1)}).encode()

    members = members_of(3)
    outcome = play(terms_of(), members, {name: vector_of(0) for name in members}, up=lie)
    assert outcome.total is None
    assert outcome.reason == "the shares of site-0002's secret do not fit together; one of them is wrong"


def test_a_public_key_of_low_order_is_refused() -> None:
    own = keys.RoundKeys.create(entropy())
    with pytest.raises(SecureSumError, match="makes no secret"):
        keys.agreed(own.mask_side, bytes(32))


def test_secrets_do_not_show() -> None:
    own, identity = keys.RoundKeys.create(entropy()), Identity.from_seed(b"i" * 32)
    shown = repr(own) + repr(identity) + repr(Member("a", identity, {}, lambda entries: None))
    for secret in (own.channel, own.mask, own.seed, b"i" * 32):
        assert repr(secret) not in shown
        assert secret.hex() not in shown


# What a masked vector looks like.


def test_masked_vectors_are_uniform_whatever_is_in_them() -> None:
    """Chi-squared over 256 byte values: mean 255, standard deviation 22.6; 400 is beyond six of them.

    The same test rejects the vector of zeros that is under the masks, and one under half a mask.
    """

    def chi_squared(data: bytes) -> float:
        counts = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
        expected = len(data) / 256
        return float(((counts - expected) ** 2 / expected).sum())

    layout = Layout(((32, 50_000),))
    attack = Malicious(3, terms_of(layout=layout))
    attack.to_masked_vectors()
    for masked in attack.masked.values():
        assert chi_squared(bytes(masked.words)) < 400
    half = bytes(attack.masked[attack.names[0]].words[:100_000]) + bytes(100_000)
    assert chi_squared(half) > 400
    streams = [np.frombuffer(masked.words, dtype=np.uint32) for masked in attack.masked.values()]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(streams[one], streams[other])[0, 1]) < 6 / np.sqrt(50_000)
