from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from foedus.core.errors import DataError
from foedus.core.seeds import SeedKey
from foedus.data.sites import Site
from foedus.data.splitting import group_numbers, split_groups, split_site

KEY = SeedKey.from_seed(1)


def site(rows: int, name: str = "a") -> Site:
    return Site(
        name, {"train": pa.table({"text": [f"t{n}" for n in range(rows)], "who": [n // 3 for n in range(rows)]})}
    )


def texts(site: Site, split: str) -> set[str]:
    return set(site.splits[split]["text"].to_pylist())  # type: ignore[index] # "train" and the like


def test_fractions_of_the_training_rows_become_splits() -> None:
    split = split_site(site(100), {"validation": 0.1, "test": 0.2}, KEY)
    assert {name: table.num_rows for name, table in split.splits.items()} == {"train": 70, "validation": 10, "test": 20}
    assert list(split.splits) == ["train", "validation", "test"]


def test_the_rows_of_one_group_stay_together() -> None:
    split = split_site(site(300), {"test": 0.2}, KEY, by="who")
    train, test = (set(split.splits[name]["who"].to_pylist()) for name in ("train", "test"))
    assert not train & test
    assert split.rows("test") == 60


def test_a_split_with_a_file_of_its_own_takes_no_training_rows() -> None:
    own = pa.table({"text": ["own"]})
    whole = Site("a", {**site(10).splits, "test": own})
    split = split_site(whole, {"validation": 0.2, "test": 0.5}, KEY)
    assert split.splits["test"] is own
    assert [split.rows("train"), split.rows("validation")] == [8, 2]
    assert split_site(whole, {"test": 0.5}, KEY) is whole
    assert split_site(whole, {"validation": 0.0}, KEY) is whole


def test_splits_depend_on_seed_and_name_alone() -> None:
    fractions = {"test": 0.3}
    first = texts(split_site(site(50), {"test": 0.3}, KEY), "test")
    assert first == texts(split_site(site(50), {"test": 0.3}, KEY), "test")
    assert first != texts(split_site(site(50, "b"), {"test": 0.3}, KEY), "test")
    assert first != texts(split_site(site(50), {"test": 0.3}, SeedKey.from_seed(2)), "test")
    assert fractions == {"test": 0.3}


def test_every_split_gets_a_row_even_of_few() -> None:
    split = split_site(site(3), {"validation": 0.01, "test": 0.9}, KEY)
    assert [split.rows("train"), split.rows("validation"), split.rows("test")] == [1, 1, 1]


def test_every_split_gets_a_group_even_if_one_is_huge() -> None:
    groups = np.array([0] * 1000 + [1, 2])
    parts = split_groups(groups, {"validation": 0.1, "test": 0.1}, KEY)
    assert sorted(len(set(groups[rows])) for rows in parts.values()) == [1, 1, 1]


def test_too_few_rows_or_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"'a' has too few rows \(2\) to cut validation and test off its training rows"):
        split_site(site(2), {"validation": 0.1, "test": 0.1}, KEY)
    with pytest.raises(DataError, match=r"'a' has too few values of 'who' \(1\) to cut test off"):
        split_site(site(3), {"test": 0.1}, KEY, by="who")


def test_rows_without_a_group_are_refused() -> None:
    with pytest.raises(DataError, match="column 'who' is empty in 1 of 2 rows, so that they belong to no group"):
        group_numbers(pa.table({"who": ["Ms Secret", None]}), "who")


def test_groups_are_numbered_across_chunks() -> None:
    chunks = pa.chunked_array([["b", "a"], ["a", "c"]])
    assert group_numbers(pa.table({"who": chunks}), "who").tolist() == [0, 1, 1, 2]
