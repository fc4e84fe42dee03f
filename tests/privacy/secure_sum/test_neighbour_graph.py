from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum import graph
from foedus.privacy.secure_sum.graph import Shape, pick, shape
from foedus.privacy.secure_sum.terms import Rules
from privacy.secure_sum.federations import entropy


@pytest.mark.parametrize("population", [1, 5, 9])
def test_hypergeometric_tails_equal_counting(population: int) -> None:
    for marked, draws in itertools.product(range(population + 1), repeat=2):
        hits = Counter(
            sum(member < marked for member in drawn) for drawn in itertools.combinations(range(population), draws)
        )
        total = sum(hits.values())
        for bound in range(-1, draws + 2):
            above = Fraction(sum(count for hit, count in hits.items() if hit >= bound), total)
            below = Fraction(sum(count for hit, count in hits.items() if hit <= bound), total)
            for exact, log2 in (
                (above, graph.log2_at_least(bound, population, marked, draws)),
                (below, graph.log2_at_most(bound, population, marked, draws)),
            ):
                assert (log2 == -math.inf) if exact == 0 else math.isclose(2**log2, exact, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("participants", "corrupt", "dropout", "neighbours"),
    [(100, 200, 100, 31), (100, 330, 200, 54), (1000, 200, 100, 68), (1000, 330, 200, 162)],
)
def test_neighbours_keep_the_stated_chances_and_one_less_does_not(
    participants: int, corrupt: int, dropout: int, neighbours: int
) -> None:
    chosen = shape(participants, Rules(corrupt_per_mille=corrupt, dropout_per_mille=dropout))
    assert chosen.neighbours == neighbours
    assert chosen.privacy_log2 <= graph.PRIVACY_LOG2
    assert chosen.failure_log2 <= graph.FAILURE_LOG2
    n, c, d = participants, chosen.colluders, chosen.dropouts
    assert (c, d) == (n * corrupt // 1000, n * dropout // 1000)
    assert graph._threshold(n, neighbours - 1, c, d, chosen.survivors_needed) is None


def test_a_part_of_the_honest_is_hard_to_cut_off_only_with_enough_neighbours() -> None:
    """The bound rejects what is really weak: few neighbours, a low threshold."""
    assert graph._log2_split(100, 31, 22, 20, 67) < -70
    assert graph._log2_split(100, 31, 5, 20, 67) > -10
    assert graph._log2_split(100, 4, 3, 20, 67) > -10


@pytest.mark.parametrize("participants", range(3, 64))
def test_a_small_cohort_shares_with_all_and_needs_more_than_two_thirds(participants: int) -> None:
    chosen = shape(participants, Rules())
    assert chosen.neighbours == participants - 1
    assert chosen.share_threshold == chosen.survivors_needed == 2 * participants // 3 + 1
    assert chosen.colluders >= (participants - 1) // 3
    assert chosen.survivors_needed - chosen.colluders >= 2, "a sum over one is that one's own"
    # Two sets of survivors, each signed by the threshold, share an honest signer.
    assert 2 * chosen.survivors_needed - participants > chosen.colluders


@pytest.mark.parametrize(
    ("participants", "rules", "reason"),
    [
        (2, Rules(), "min_cohort is 3"),
        (4, Rules(min_cohort=5), "min_cohort is 5"),
        (6, Rules(threshold=3), "more than half"),
        (5, Rules(threshold=6), "at most all"),
        (100, Rules(threshold=55, corrupt_per_mille=200), "two sets of survivors"),
        (100, Rules(threshold=95, dropout_per_mille=100), "10 may drop out"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(participants: int, rules: Rules, reason: str) -> None:
    with pytest.raises(SecureSumError, match=reason):
        shape(participants, rules)


@pytest.mark.parametrize("settings", [{"min_cohort": 1}, {"threshold": -1}, {"corrupt_per_mille": 500}])
def test_rules_that_protect_nobody_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(SecureSumError):
        Rules(**settings)


def test_picks_are_a_uniform_draw_of_others() -> None:
    """Each of 9 others is picked 1500 times in expectation; 6 standard deviations are 180."""
    chosen = Shape(10, 3, 2, 7, 1, 1, 0.0, 0.0)
    stream, counts = entropy("picks"), Counter[int]()
    for _ in range(4500):
        picks = pick(4, chosen, stream)
        assert list(picks) == sorted(set(picks))
        counts.update(picks)
    assert set(counts) == set(range(10)) - {4}
    assert all(abs(count - 1500) < 180 for count in counts.values())
