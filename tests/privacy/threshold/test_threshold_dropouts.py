"""Who vanishes when, and what comes of the sum."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement, product

import pytest

from foedus.privacy.secure_sum.terms import Rules
from privacy.secure_sum.federations import members_of, names_of, plain_sum, terms_of, vector_of
from privacy.threshold.threshold_federations import LAYOUT, PHASES, play

STAYS = len(PHASES)


def patterns(count: int) -> Iterable[tuple[int, ...]]:
    """Return in which phase each vanishes, or that it stays; for many, who does what is left to their order."""
    phases = range(STAYS + 1)
    return product(phases, repeat=count) if count < 4 else combinations_with_replacement(phases, count)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_every_pattern_of_vanishing_gives_the_sum_of_those_who_sent_or_none(count: int) -> None:
    names = names_of(count)
    vectors = {name: vector_of(index, LAYOUT) for index, name in enumerate(names)}
    for pattern in patterns(count):
        left = dict(zip(names, pattern, strict=True))
        terms = terms_of(Rules(min_cohort=2), LAYOUT)
        outcome = play(terms, members_of(count), vectors, gone=lambda name, phase: phase >= left[name])  # noqa: B023
        key_holders = [name for name in names if left[name] > PHASES.index("show")]
        stands = len(key_holders) >= 2 and all(left[name] == STAYS for name in key_holders)
        if not stands:
            assert outcome.total is None
            assert outcome.reason
            assert outcome.survivors == ()
            continue
        assert outcome.reason is None
        assert outcome.survivors == tuple(key_holders)
        expected = plain_sum([vectors[name] for name in key_holders], LAYOUT)
        assert outcome.total is not None
        assert all((got == want).all() for got, want in zip(outcome.total, expected, strict=True))
        assert set(outcome.left_out) == set(names) - set(key_holders)


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        ("encrypt", "3 of 4 who made this round's key signed for a ciphertext"),
        ("send", "3 of 4 who signed"),
        ("open", "3 of 4 who made this round's key helped"),
    ],
)
def test_one_that_vanishes_late_stops_the_round_and_the_reason_says_so(phase: str, says: str) -> None:
    names = names_of(4)
    vectors = {name: vector_of(index, LAYOUT) for index, name in enumerate(names)}
    outcome = play(
        terms_of(layout=LAYOUT),
        members_of(4),
        vectors,
        gone=lambda name, now: name == names[2] and now >= PHASES.index(phase),
    )
    assert outcome.total is None
    assert outcome.reason is not None
    assert says in outcome.reason
    assert "use masks" in outcome.reason
    assert outcome.left_out[names[2]] == "did not answer"


def test_too_few_in_any_phase_are_refused_with_the_reason() -> None:
    names = names_of(3)
    vectors = {name: vector_of(index, LAYOUT) for index, name in enumerate(names)}
    for phase, says in enumerate(("on the roster", "showed a key share")):
        outcome = play(
            terms_of(layout=LAYOUT),
            members_of(3),
            vectors,
            gone=lambda name, now: name == names[0] and now >= phase,  # noqa: B023
        )
        assert outcome.total is None
        assert outcome.reason is not None
        assert f"2 participants {'are ' if phase == 0 else ''}{says}" in outcome.reason
