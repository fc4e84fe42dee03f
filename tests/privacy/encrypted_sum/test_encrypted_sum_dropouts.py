"""Who vanishes when: the sum is over those who sent a vector, exactly, or there is none and the outcome says why."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement

import numpy as np
import pytest

from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.privacy.secure_sum.exchanges import SILENT, Outcome
from foedus.privacy.secure_sum.masks import Vector
from foedus.privacy.secure_sum.terms import Rules
from privacy.encrypted_sum.encrypted_play import LAYOUT, PHASES, left_after, vectors_of
from privacy.secure_sum.federations import members_of, names_of, plain_sum, play, terms_of

RULES = Rules(min_cohort=2, threshold=3)
STAYS = len(PHASES)


def played(leaves: Mapping[str, int], count: int, rules: Rules = RULES) -> Outcome:
    kind = Ckks(choose(count))
    return play(terms_of(rules, LAYOUT), members_of(count), vectors_of(count), present=left_after(leaves), kind=kind)


def equal(total: Vector | None, expected: Vector) -> bool:
    return total is not None and all(np.array_equal(a, b) for a, b in zip(total, expected, strict=True))


@pytest.mark.parametrize("count", [4, 5])
def test_every_pattern_of_drop_outs_gives_the_exact_sum_or_none(count: int) -> None:
    names = names_of(count)
    vectors = vectors_of(count)
    for pattern in combinations_with_replacement(range(STAYS + 1), count):
        if count == 5 and pattern.count(STAYS) < 2:
            continue  # what fewer come to is seen with four
        leaves = dict(zip(names, pattern, strict=True))
        there = [[name for name in names if leaves[name] > phase] for phase in range(STAYS)]
        stands = all(len(there[phase]) >= 3 for phase in range(4)) and len(there[4]) >= 1
        outcome = played(leaves, count)
        if stands:
            assert equal(outcome.total, plain_sum([vectors[name] for name in there[2]], LAYOUT)), pattern
            assert set(outcome.survivors) == set(there[2])
            assert outcome.left_out == dict.fromkeys(set(names) - set(there[2]), SILENT)
        else:
            assert outcome.total is None, pattern
            assert outcome.reason


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        (0, "2 participants are on the roster; min_cohort is 3"),
        (1, "2 participants shared their seeds; the threshold is 3"),
        (2, "2 participants sent an encrypted vector; the threshold is 3"),
        (3, "2 participants signed the list of survivors; the threshold is 3"),
        (4, "none of 4 survivors opened the sum"),
    ],
)
def test_with_too_few_the_outcome_says_in_which_exchange(phase: int, reason: str) -> None:
    gone = dict.fromkeys(names_of(4)[: 4 if phase == 4 else 2], phase)
    outcome = played(gone, 4, Rules(min_cohort=3))
    assert outcome.total is None
    assert outcome.reason == reason


def test_the_next_is_asked_if_one_that_should_open_the_sum_does_not() -> None:
    names, vectors = names_of(4), vectors_of(4)
    asked: list[str] = []

    def present(name: str, phase: int) -> bool:
        if phase >= 4:
            asked.append(name)
        return phase < 4 or len(asked) == 4

    kind = Ckks(choose(4))
    outcome = play(terms_of(RULES, LAYOUT), members_of(4), vectors, present=present, kind=kind)
    assert equal(outcome.total, plain_sum(list(vectors.values()), LAYOUT))
    assert sorted(asked) == sorted(names)
    assert outcome.left_out == {}
