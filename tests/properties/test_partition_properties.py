from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import DataError
from foedus.core.seeds import SeedKey
from foedus.data.partition import (
    Partition,
    by_column,
    by_sizes,
    deal_alike,
    dirichlet_per_class,
    dirichlet_per_participant,
    iid,
    shards,
)
from foedus.data.sites import Site
from foedus.data.splitting import split_groups, split_site

keys = st.integers(0, 2**32).map(SeedKey.from_seed)
label_lists = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=120)
alphas = st.floats(1e-3, 1e3)
Draw = Callable[[list[str], SeedKey], Partition]


@st.composite
def draws(draw: st.DrawFn) -> Draw:
    """Return one kind of partition with its options."""
    count, alpha = draw(st.integers(1, 9)), draw(alphas)
    sizes = draw(st.lists(st.floats(0.1, 100), min_size=1, max_size=9))
    kinds: list[Draw] = [
        lambda labels, _: by_column(labels),
        lambda labels, key: iid(len(labels), count, key),
        lambda labels, key: by_sizes(len(labels), sizes, key),
        lambda labels, key: shards(labels, count, draw(st.integers(1, 4)), key),
        lambda labels, key: dirichlet_per_class(labels, count, alpha, key),
        lambda labels, key: dirichlet_per_participant(labels, count, alpha, key),
    ]
    return draw(st.sampled_from(kinds))


@given(draws(), label_lists, keys)
def test_every_row_is_with_exactly_one_participant_or_the_partition_is_refused(
    draw: Draw, labels: list[str], key: SeedKey
) -> None:
    try:
        partition = draw(labels, key)
    except DataError:
        return
    assert sorted(np.concatenate(list(partition.values())).tolist()) == list(range(len(labels)))
    assert min(map(len, partition.values())) >= 1
    assert all((np.diff(rows) > 0).all() for rows in partition.values())


@given(label_lists, st.integers(1, 9), alphas, keys)
def test_equal_seeds_give_equal_partitions(labels: list[str], count: int, alpha: float, key: SeedKey) -> None:
    count = min(count, len(labels))
    first, second = (dirichlet_per_participant(labels, count, alpha, key) for _ in range(2))
    assert {name: rows.tolist() for name, rows in first.items()} == {n: rows.tolist() for n, rows in second.items()}


@given(label_lists, st.integers(1, 9), alphas, keys)
def test_participants_by_label_mix_differ_by_one_row_at_most(
    labels: list[str], count: int, alpha: float, key: SeedKey
) -> None:
    sizes = [len(rows) for rows in dirichlet_per_participant(labels, min(count, len(labels)), alpha, key).values()]
    assert max(sizes) - min(sizes) <= 1


@given(label_lists, label_lists, st.integers(1, 9), keys)
def test_every_shared_test_row_is_dealt_once(labels: list[str], others: list[str], count: int, key: SeedKey) -> None:
    dealt = deal_alike(iid(len(labels), min(count, len(labels)), key), labels, others, key)
    assert sorted(np.concatenate(list(dealt.values())).tolist()) == list(range(len(others)))


@st.composite
def groups(draw: st.DrawFn) -> np.ndarray:
    """Return each row's group, numbered from 0 without gaps; three groups at least."""
    drawn = draw(st.lists(st.integers(0, 20), min_size=3, max_size=150).filter(lambda rows: len(set(rows)) >= 3))
    return np.unique(drawn, return_inverse=True)[1]


@given(groups(), st.floats(0.01, 0.45), st.floats(0.01, 0.45), keys)
def test_every_row_is_in_one_split_and_no_group_in_two(
    group: np.ndarray, validation: float, test: float, key: SeedKey
) -> None:
    parts = split_groups(group, {"validation": validation, "test": test}, key)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(group)))
    held = [set(group[rows].tolist()) for rows in parts.values()]
    assert all(held)
    assert sum(map(len, held)) == len(set(group.tolist()))


@given(groups(), st.floats(0.01, 0.9), keys)
def test_a_split_is_off_its_share_by_the_largest_group_at_most(
    group: np.ndarray, fraction: float, key: SeedKey
) -> None:
    parts = split_groups(group, {"test": fraction}, key)
    assert abs(len(parts["test"]) - fraction * len(group)) <= np.bincount(group).max()


@given(st.permutations(["a", "b", "c"]), keys)
def test_the_order_of_participants_does_not_change_their_splits(order: list[str], key: SeedKey) -> None:
    rows = pa.table({"text": [str(n) for n in range(20)]})

    def test_rows(names: list[str]) -> dict[str, list[str]]:
        split = [split_site(Site(name, {"train": rows}), {"test": 0.3}, key) for name in names]
        return {site.name: site.splits["test"]["text"].to_pylist() for site in split}

    assert test_rows(order) == test_rows(["a", "b", "c"])
