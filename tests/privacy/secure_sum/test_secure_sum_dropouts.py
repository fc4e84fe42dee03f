"""Exact sums whoever vanishes, whenever."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from foedus.privacy.secure_sum import keys
from foedus.privacy.secure_sum.exchanges import SILENT, Outcome
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.terms import Rules
from privacy.secure_sum.federations import PHASES, Notebook, members_of, plain_sum, play, terms_of, vector_of

NEVER = len(PHASES)


@pytest.fixture(scope="module", autouse=True)
def _agreeing_once() -> Iterator[None]:
    """Every pattern has the same keys, so what is a pure function of them is computed once."""
    with pytest.MonkeyPatch.context() as patch:
        agreed = lru_cache(maxsize=None)(
            lambda private, public: X25519PrivateKey.from_private_bytes(private).exchange(
                X25519PublicKey.from_public_bytes(public)
            )
        )
        patch.setattr(keys, "agreed", lambda private, public: agreed(private.private_bytes_raw(), public))
        patch.setattr(keys, "public_key", lru_cache(maxsize=None)(keys.public_key))
        yield


def played(drops: tuple[int, ...], rules: Rules) -> tuple[Outcome, list[int]]:
    """Return what came of it, and how many still answered in each phase."""
    members = MEMBERS[len(drops)]
    for member in members.values():
        assert isinstance(member.record_once, Notebook)
        member.record_once.entries.clear()
    phase_of = dict(zip(members, drops, strict=True))
    outcome = play(terms_of(rules), members, VECTORS[len(drops)], present=lambda name, phase: phase < phase_of[name])
    return outcome, [sum(drop > phase for drop in drops) for phase in range(NEVER)]


MEMBERS = {count: members_of(count) for count in (2, 3, 4, 5)}
VECTORS = {count: {name: vector_of(i) for i, name in enumerate(MEMBERS[count])} for count in MEMBERS}


def check(drops: tuple[int, ...], rules: Rules) -> bool:
    outcome, counts = played(drops, rules)
    roster = counts[0]
    needed = rules.threshold or 2 * roster // 3 + 1
    stands = roster >= rules.min_cohort and needed <= roster and needed > roster / 2 and min(counts) >= needed
    assert (outcome.total is not None) == stands, (drops, outcome.reason)
    if not stands:
        assert outcome.reason
        return False
    present = [name for name, drop in zip(VECTORS[len(drops)], drops, strict=True) if drop > 2]
    assert outcome.total is not None
    expected = plain_sum([VECTORS[len(drops)][name] for name in present])
    assert all(np.array_equal(got, want) for got, want in zip(outcome.total, expected, strict=True)), drops
    assert outcome.survivors == tuple(present)
    assert outcome.left_out == {name: SILENT for name in VECTORS[len(drops)] if name not in present}
    return True


@pytest.mark.parametrize("participants", [2, 3, 4])
@pytest.mark.parametrize("threshold", [0, 2, 3])
def test_the_sum_is_exact_or_refused_for_every_pattern_of_dropping_out(participants: int, threshold: int) -> None:
    rules = Rules(min_cohort=2, threshold=threshold)
    stood = sum(check(drops, rules) for drops in itertools.product(range(NEVER + 1), repeat=participants))
    if threshold <= participants:
        assert stood >= 1


@pytest.mark.parametrize("first", range(1, NEVER + 1))
def test_the_sum_is_exact_or_refused_for_every_pattern_of_five(first: int) -> None:
    """Who vanishes before the roster stands leaves a smaller federation, which the test above has."""
    rules = Rules(threshold=3)
    stood = Counter(check((first, *rest), rules) for rest in itertools.product(range(1, NEVER + 1), repeat=4))
    assert stood[False] > 0
    assert stood[True] > 0


def test_with_the_default_threshold_one_of_five_may_vanish_in_any_phase_and_two_may_not() -> None:
    for place, drop in itertools.product(range(5), range(1, NEVER)):
        drops = [NEVER] * 5
        drops[place] = drop
        assert check(tuple(drops), Rules())
    for (one, other), *phases in itertools.product(
        itertools.combinations(range(5), 2), range(1, NEVER), range(1, NEVER)
    ):
        drops = [NEVER] * 5
        drops[one], drops[other] = phases
        assert not check(tuple(drops), Rules())


def test_a_round_below_the_threshold_says_in_which_phase_and_how_far_below() -> None:
    drops = {"share": 1, "mask": 2, "confirm": 3, "open": 4}
    reasons = {
        "share": "3 participants shared their secrets; the threshold is 4",
        "mask": "3 participants sent a masked vector; the threshold is 4",
        "confirm": "3 participants signed the list of survivors; the threshold is 4",
        "open": "3 holders opened a share of site-0000's; 4 must",
    }
    for phase, drop in drops.items():
        outcome, _ = played((NEVER, drop, NEVER, drop, NEVER), Rules())
        assert outcome.reason == reasons[phase]
        assert outcome.total is None
    assert played((0, 0, 0, NEVER, NEVER), Rules())[0].reason == "2 participants are on the roster; min_cohort is 3"


def test_a_large_cohort_with_drawn_neighbours_sums_exactly_though_some_vanish_in_every_phase() -> None:
    layout = Layout(((64, 2), (32, 100)))
    members = members_of(80)
    vectors = {name: vector_of(index, layout) for index, name in enumerate(members)}
    vanishing = dict(zip(list(members)[::9], itertools.cycle(range(NEVER)), strict=False))
    outcome = play(
        terms_of(layout=layout), members, vectors, present=lambda name, phase: phase < vanishing.get(name, NEVER)
    )
    assert outcome.shape is not None
    assert outcome.shape.neighbours < 40
    assert outcome.total is not None, outcome.reason
    stayed = [name for name in members if vanishing.get(name, NEVER) > 2]
    assert outcome.survivors == tuple(stayed)
    expected = plain_sum([vectors[name] for name in stayed], layout)
    assert all(np.array_equal(got, want) for got, want in zip(outcome.total, expected, strict=True))


def test_vectors_of_the_caller_are_not_changed() -> None:
    vectors = {name: tuple(words.copy() for words in vector) for name, vector in VECTORS[3].items()}
    members = members_of(3)
    play(terms_of(), members, vectors)
    for name, vector in VECTORS[3].items():
        assert all(np.array_equal(one, other) for one, other in zip(vector, vectors[name], strict=True))


@pytest.mark.parametrize(
    ("rules", "roster", "needed"),
    [
        (Rules(), 6, 5),
        (Rules(min_cohort=6), 6, 6),
        (Rules(min_cohort=6), 8, 6),
        (Rules(min_cohort=5, threshold=4), 6, 5),
    ],
)
def test_no_sum_is_over_fewer_than_min_cohort_though_more_were_on_the_roster(
    rules: Rules, roster: int, needed: int
) -> None:
    assert rules.survivors_needed(roster) == needed
