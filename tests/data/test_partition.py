from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

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
    sites_of,
)

KEY = SeedKey.from_seed(3)
LABELS = [f"label {number}" for number in np.random.default_rng(0).choice(10, size=6000, p=np.arange(1, 11) / 55)]


def sizes(partition: Partition) -> list[int]:
    return [len(rows) for rows in partition.values()]


def mixes(partition: Partition, labels: list[str] = LABELS) -> np.ndarray:
    """Return each participant's label shares, shape (participant, label)."""
    names, codes = np.unique(labels, return_inverse=True)
    return np.stack([np.bincount(codes[rows], minlength=len(names)) / len(rows) for rows in partition.values()])


def spread(partition: Partition) -> float:
    """Return the mean distance (total variation) of the participants' label mixes from that of all rows."""
    whole = np.unique(LABELS, return_counts=True)[1] / len(LABELS)
    return float(np.abs(mixes(partition) - whole).sum(axis=1).mean() / 2)


def test_a_column_names_its_participants() -> None:
    partition = by_column(["b", "a", "b", "c"])
    assert {name: rows.tolist() for name, rows in partition.items()} == {"a": [1], "b": [0, 2], "c": [3]}


def test_iid_parts_differ_by_one_row_at_most() -> None:
    assert sorted(sizes(iid(11, 3, KEY))) == [3, 4, 4]
    assert next(iter(iid(20, 10, KEY))) == "site-01"


def test_sizes_that_add_up_are_met_exactly_and_others_in_proportion() -> None:
    assert sizes(by_sizes(600, [300, 200, 100], KEY)) == [300, 200, 100]
    assert sizes(by_sizes(60, [300, 200, 100], KEY)) == [30, 20, 10]
    assert sizes(by_sizes(10, [0.5, 0.25, 0.25], KEY)) == [5, 3, 2]


def test_shards_hold_as_many_labels_as_runs_cross() -> None:
    labels = [str(n % 10) for n in range(1000)]
    partition = shards(labels, 10, 2, KEY)
    assert set(sizes(partition)) == {100}
    assert max((mix > 0).sum() for mix in mixes(partition, labels)) == 2


def test_dirichlet_per_class_deals_each_class_in_shares_of_that_distribution() -> None:
    # the variance of one share under Dirichlet(alpha, …, alpha) of K participants is (K - 1) / (K^2 (K alpha + 1))
    count, alpha = 5, 0.5
    labels = [f"{number % 400:03d}" for number in range(400 * 200)]
    partition = dirichlet_per_class(labels, count, alpha, KEY)
    codes = np.unique(labels, return_inverse=True)[1]
    shares = np.stack([np.bincount(codes[rows], minlength=400) for rows in partition.values()]) / 200
    expected = (count - 1) / (count**2 * (count * alpha + 1))
    assert shares.var() == pytest.approx(expected, rel=0.1)  # 2000 shares: about 3 standard errors
    wrong = (count - 1) / (count**2 * (alpha + 1))  # alpha as the whole concentration, the other convention
    assert shares.var() != pytest.approx(wrong, rel=0.1)


def test_dirichlet_per_participant_gives_equal_sizes_and_mixes_of_that_distribution() -> None:
    # the variance of the share of a label of probability p under Dirichlet(alpha p) is p (1 - p) / (alpha + 1)
    labels = [str(number % 4) for number in range(500 * 40)]
    partition = dirichlet_per_participant(labels, 500, 3.0, KEY)
    assert set(sizes(partition)) == {40}
    drawn = 0.25 * 0.75 / 40 * 3 / 4  # what drawing 40 rows adds to it: E[q (1 - q)] / 40
    assert mixes(partition, labels).var() == pytest.approx(0.25 * 0.75 / 4 + drawn, rel=0.1)


def test_no_participant_is_served_last() -> None:
    # in Hsu et al.'s order the last participants get what is left, which is nearer to one label each
    labels = [str(number % 5) for number in range(5000)]
    distances = []
    for seed in range(40):
        partition = dirichlet_per_participant(labels, 20, 1.0, SeedKey.from_seed(seed))
        distances.append(np.abs(mixes(partition, labels) - 0.2).sum(axis=1))
    by_place = np.stack(distances).mean(axis=0)
    assert by_place[:10].mean() == pytest.approx(by_place[10:].mean(), rel=0.1)


@pytest.mark.parametrize("draw", [dirichlet_per_class, dirichlet_per_participant])
def test_a_large_alpha_is_nearly_iid_and_a_small_one_is_not(draw: Callable[..., Partition]) -> None:
    assert spread(draw(LABELS, 8, 1e4, KEY)) < 0.05
    assert spread(draw(LABELS, 8, 0.1, KEY)) > 0.4


def test_a_minimum_of_rows_is_kept_or_refused_with_what_would_do() -> None:
    assert min(sizes(dirichlet_per_class(LABELS, 10, 0.3, KEY, minimum_rows=100))) >= 100
    with pytest.raises(DataError) as caught:
        dirichlet_per_class(LABELS, 20, 0.02, KEY, minimum_rows=100)
    message = str(caught.value)
    assert message.startswith(
        "6000 rows do not give 20 participants 100 or more each; in 100 draws with alpha 0.02; use an alpha of "
    )
    alpha, count = (float(part.split()[0]) for part in message.split(" of ")[1:])
    assert min(sizes(dirichlet_per_class(LABELS, 20, alpha, KEY, minimum_rows=100))) >= 100
    assert min(sizes(dirichlet_per_class(LABELS, int(count), 0.02, KEY, minimum_rows=100))) >= 100


@pytest.mark.parametrize(
    ("partition", "advice"),
    [
        (lambda: iid(10, 4, KEY, 3), "10 rows do not give 4 participants 3 or more each; give more rows"),
        (lambda: by_sizes(10, [9, 1], KEY, 2), "or sizes that differ less"),
        (lambda: shards(["a"] * 10, 4, 2, KEY, 3), "use a count of 3 or less"),
        (lambda: dirichlet_per_participant(["a"] * 10, 4, 1.0, KEY, 3), "use a count of 3 or less"),
        (lambda: dirichlet_per_class(["a"] * 3, 4, 1.0, KEY, 1), "3 rows do not give 4 participants 1 or more"),
        (lambda: by_column(["Ms Secret", "b", "b"], 2), "1 of the 2 values in the column that names the participants"),
        (lambda: by_column(["a/b"]), "participants.into.column: 'a/b' cannot name a participant"),
    ],
)
def test_too_few_rows_for_the_participants_are_refused(partition: Callable[[], Partition], advice: str) -> None:
    with pytest.raises(DataError) as caught:
        partition()
    assert advice in str(caught.value)
    assert "Secret" not in str(caught.value)


def test_a_shared_test_file_is_dealt_in_each_participants_own_mix() -> None:
    partition = dirichlet_per_class(LABELS, 5, 0.5, KEY)
    others = LABELS[:3000] + ["new"] * 500
    dealt = deal_alike(partition, LABELS, others, KEY)
    assert list(dealt) == list(partition)
    assert sorted(np.concatenate(list(dealt.values()))) == list(range(3500))
    known = {name: rows[rows < 3000] for name, rows in dealt.items()}
    assert np.abs(mixes(known) - mixes(partition)).sum(axis=1).max() / 2 < 0.1
    new = np.array([(rows >= 3000).sum() for rows in dealt.values()]) / 500
    assert np.abs(new - np.array(sizes(partition)) / len(LABELS)).max() < 0.1


def test_partitions_become_sites_without_empty_splits() -> None:
    tables = {"train": pa.table({"text": ["a", "b", "c"]}), "test": pa.table({"text": ["d"]})}
    rows = {
        "train": {"x": np.array([0, 2]), "y": np.array([1])},
        "test": {"x": np.array([], np.int64), "y": np.array([0])},
    }
    x, y = sites_of(tables, rows)  # type: ignore[arg-type] # literal split names
    assert (x.name, x.splits["train"]["text"].to_pylist(), x.rows("test")) == ("x", ["a", "c"], 0)
    assert list(x.splits) == ["train"]
    assert y.splits["test"]["text"].to_pylist() == ["d"]
