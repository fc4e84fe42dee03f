from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.seeds import SeedKey
from foedus.training.batches import logical_batches, ordered_batches, shuffled_batches, steps_per_round

KEY = SeedKey.from_seed(0)
LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=200)
SIZES = st.integers(1, 20)


@given(LENGTHS, SIZES, st.booleans(), st.integers(0, 9))
def test_an_epoch_holds_every_index_once_in_batches_of_the_size(
    lengths: list[int], size: int, group: bool, seed: int
) -> None:
    batches = shuffled_batches(lengths, size, KEY.child(seed), group_by_length=group)
    assert sorted(itertools.chain(*batches)) == list(range(len(lengths)))
    assert sorted(map(len, batches), reverse=True)[:-1] == [size] * (len(batches) - 1)


@given(LENGTHS, SIZES)
def test_evaluation_sees_every_index_once_with_the_longest_first(lengths: list[int], size: int) -> None:
    order = list(itertools.chain(*ordered_batches(lengths, size)))
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)


def test_evaluation_of_no_rows_has_no_batches() -> None:
    assert ordered_batches([], 4) == []


def padded_tokens(lengths: list[int], batches: list[list[int]]) -> int:
    return sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)


def test_grouping_by_length_saves_most_padding() -> None:
    lengths = KEY.numpy().integers(1, 129, size=1000).tolist()
    loose, grouped = (
        padded_tokens(lengths, shuffled_batches(lengths, 16, KEY, group_by_length=group)) - sum(lengths)
        for group in (False, True)
    )
    assert grouped < loose / 10


def test_grouped_batches_are_not_in_the_order_of_length() -> None:
    lengths = list(range(400))
    longest = [max(batch) for batch in shuffled_batches(lengths, 8, KEY, group_by_length=True)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


@pytest.mark.parametrize("group", [False, True])
def test_batches_follow_their_key(group: bool) -> None:
    first, again, other = (
        shuffled_batches([5] * 50, 4, key, group_by_length=group) for key in (KEY, KEY, KEY.child("other"))
    )
    assert first == again != other


@given(LENGTHS, SIZES, st.integers(1, 5), st.integers(1, 4))
def test_a_round_of_epochs_ends_with_whole_epochs(
    lengths: list[int], size: int, accumulation: int, epochs: int
) -> None:
    steps = steps_per_round(len(lengths), size, accumulation, epochs, None)
    logical = list(logical_batches(lengths, size, accumulation, steps, KEY, group_by_length=False))
    assert len(logical) == steps
    assert all(1 <= len(batches) <= accumulation for batches in logical)
    seen = [index for batches in logical for batch in batches for index in batch]
    per_epoch = [sorted(seen[start : start + len(lengths)]) for start in range(0, len(seen), len(lengths))]
    assert per_epoch == [list(range(len(lengths)))] * epochs


@given(LENGTHS, SIZES, st.integers(1, 60))
def test_a_round_of_steps_has_so_many_steps_whatever_the_rows(lengths: list[int], size: int, steps: int) -> None:
    assert steps_per_round(len(lengths), size, 1, None, steps) == steps
    assert len(list(logical_batches(lengths, size, 1, steps, KEY, group_by_length=True))) == steps


def test_epochs_are_shuffled_anew() -> None:
    first, second = logical_batches([1] * 30, 30, 1, 2, KEY, group_by_length=False)
    assert sorted(first[0]) == sorted(second[0])
    assert first != second
