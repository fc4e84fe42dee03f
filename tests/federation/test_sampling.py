from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.federation.sampling import (
    Cyclic,
    Everyone,
    FixedSize,
    Only,
    Poisson,
    Sampler,
    SecretPoisson,
    TruncatedPoisson,
)

KEY = SeedKey.from_seed(0)
FIVE = ("e", "d", "c", "b", "a")


def cohorts(sampler: Sampler, rounds: int) -> list[tuple[str, ...]]:
    return [tuple(sampler.select(FIVE, KEY.child("round", number), number)) for number in range(rounds)]


@pytest.mark.parametrize("sampler", [Everyone(), FixedSize(3), Poisson(0.5), Only(("a", "d"))])
def test_a_cohort_follows_its_key_and_stands_in_the_populations_order(sampler: Sampler) -> None:
    first = cohorts(sampler, 50)
    assert first == cohorts(sampler, 50)
    for cohort in first:
        assert list(cohort) == [name for name in FIVE if name in cohort]


def test_everyone_is_everyone() -> None:
    assert Everyone().select(FIVE, KEY, 0) == FIVE


def test_only_the_named_ones_take_part() -> None:
    assert Only(("a", "d")).select(FIVE, KEY, 0) == ("d", "a")


def test_more_participants_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="size is 6, but the run has 5 participants; use at most 5"):
        FixedSize(6).select(FIVE, KEY, 0)


def chi_squared(counts: Counter[tuple[str, ...]], expected: dict[tuple[str, ...], float]) -> float:
    return sum((counts[cohort] - number) ** 2 / number for cohort, number in expected.items())


# The 99.9 % points of chi-squared: a fixed seed, and a false-alarm rate of 0.1 % when the seed is changed.
BOUND_9, BOUND_31 = 27.88, 61.10


def test_fixed_size_draws_every_subset_alike() -> None:
    rounds = 2000
    counts = Counter(cohorts(FixedSize(3), rounds))
    expected: dict[tuple[str, ...], float] = dict.fromkeys(combinations(FIVE, 3), rounds / 10)
    assert counts.keys() <= expected.keys()
    assert chi_squared(counts, expected) < BOUND_9


def poisson_expectation(rate: float, rounds: int) -> dict[tuple[str, ...], float]:
    subsets = [subset for size in range(6) for subset in combinations(FIVE, size)]
    return {s: rounds * rate ** len(s) * (1 - rate) ** (5 - len(s)) for s in subsets}


def test_poisson_tosses_an_independent_coin_for_each() -> None:
    counts = Counter(cohorts(Poisson(0.4), 4000))
    assert chi_squared(counts, poisson_expectation(0.4, 4000)) < BOUND_31


@pytest.mark.parametrize("wrong_rate", [0.4 * 2 / 3, 0.37, 0.43])
def test_the_same_test_rejects_a_wrong_rate(wrong_rate: float) -> None:
    counts = Counter(cohorts(Poisson(wrong_rate), 4000))
    assert chi_squared(counts, poisson_expectation(0.4, 4000)) > BOUND_31


def test_the_same_test_rejects_cohorts_of_fixed_size_at_the_same_rate() -> None:
    counts = Counter(cohorts(FixedSize(2), 4000))
    assert chi_squared(counts, poisson_expectation(0.4, 4000)) > BOUND_31


def test_a_poisson_cohort_may_be_empty_or_everybody() -> None:
    sizes = {len(cohort) for cohort in cohorts(Poisson(0.5), 400)}
    assert sizes == set(range(6))


def test_a_rate_of_1_is_everyone() -> None:
    assert set(cohorts(Poisson(1.0), 100)) == {FIVE}


SEEDED = Entropy.reproducible_from(KEY.child("cohorts"))


@pytest.mark.parametrize("sampler", [SecretPoisson(0.4, SEEDED), TruncatedPoisson(0.4, 5, SEEDED)])
def test_secret_coins_are_independent_and_of_the_stated_rate(sampler: Sampler) -> None:
    counts = Counter(cohorts(sampler, 4000))
    assert chi_squared(counts, poisson_expectation(0.4, 4000)) < BOUND_31
    assert chi_squared(counts, poisson_expectation(0.37, 4000)) > BOUND_31


def test_a_cohort_over_the_cap_is_cut_to_a_random_subset_of_it() -> None:
    rounds = 4000
    counts = Counter(cohorts(TruncatedPoisson(0.4, 2, SEEDED), rounds))
    expected = {s: n for s, n in poisson_expectation(0.4, rounds).items() if len(s) < 2}
    over = sum(n for s, n in poisson_expectation(0.4, rounds).items() if len(s) >= 2)
    expected |= dict.fromkeys(combinations(FIVE, 2), over / 10)
    assert counts.keys() <= expected.keys()
    assert chi_squared(counts, expected) < 37.70  # 15 degrees of freedom
    first: dict[tuple[str, ...], float] = dict.fromkeys([("e", "d")], over / 10 * 1.6)
    assert chi_squared(counts, {**expected, **first}) > 37.70


@pytest.mark.parametrize("make", [SecretPoisson, lambda rate, entropy: TruncatedPoisson(rate, 4, entropy)])
def test_secret_cohorts_follow_neither_the_seed_nor_the_round(make: type[SecretPoisson]) -> None:
    names = [str(i) for i in range(200)]
    sampler = make(0.5, Entropy.secret())
    assert sampler.select(names, KEY, 0) != sampler.select(names, KEY, 0)
    again = make(0.5, SEEDED)
    assert again.select(names, KEY, 3) == again.select(names, KEY.child("other"), 3)
    assert again.select(names, KEY, 3) != again.select(names, KEY, 4)


def test_groups_take_turns_and_everybody_has_exactly_one() -> None:
    turns = cohorts(Cyclic(2, KEY), 6)
    assert sorted(turns[0] + turns[1]) == sorted(FIVE)
    assert {len(turns[0]), len(turns[1])} == {2, 3}
    assert turns[2:4] == turns[:2]
    assert turns[4:] == turns[:2]
    assert len({tuple(cohorts(Cyclic(2, KEY.child(i)), 1)) for i in range(30)}) > 5


def test_more_groups_than_participants_cannot_take_turns() -> None:
    with pytest.raises(ConfigError, match="turns in 6 groups, but the run has 5"):
        Cyclic(6, KEY).select(FIVE, KEY, 0)
