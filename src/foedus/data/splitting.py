"""Cutting one participant's training rows into splits, by fractions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from foedus.core.errors import DataError
from foedus.core.seeds import SeedKey
from foedus.data.sites import SPLITS, Site, Split

Indices = NDArray[np.int64]


def split_site(site: Site, fractions: Mapping[Split, float], key: SeedKey, by: str | None = None) -> Site:
    """Return the site with these fractions of its training rows as splits of their own.

    fractions: for "validation" and "test", such as {"test": 0.2}; a split that the site has already, from a
        file of its own, is left as it is and takes no training rows.
    by: a column; rows that share a value in it, such as those of one patient, stay together.
    The result depends on the key, the site's name and its rows, not on the other sites.
    Raises: DataError if there are too few rows, or groups of rows, for every split to get one.
    """
    rows = site.splits["train"]
    wanted = {split: fraction for split, fraction in fractions.items() if fraction and split not in site.splits}
    if not wanted:
        return site
    groups = group_numbers(rows, by) if by is not None else np.arange(rows.num_rows)
    count = int(groups.max()) + 1
    if count <= len(wanted):
        what = "rows" if by is None else f"values of '{by}'"
        raise DataError(
            f"'{site.name}' has too few {what} ({count}) to cut {' and '.join(wanted)} off its training rows; "
            f"give it more rows, or a file of its own for {' and '.join(wanted)}"
        )
    parts = split_groups(groups, wanted, key.child("split", site.name))
    cut = {split: rows.take(indices) for split, indices in parts.items()}
    splits = {**site.splits, **cut}
    return Site(site.name, {split: splits[split] for split in SPLITS if split in splits})


def split_groups(groups: NDArray[np.integer], fractions: Mapping[Split, float], key: SeedKey) -> dict[Split, Indices]:
    """Return the row numbers of each split, ascending: every row in one split, every group in one split.

    groups: each row's group, numbered from 0 without gaps, more groups than fractions.
    fractions: each > 0, with a sum < 1; "train" gets the rest. Every split gets a group at least.
    Groups come in random order, each to the split that is furthest below its share of the rows, so that
    shares are met to within the largest group.
    """
    sizes = np.bincount(groups)
    order = key.numpy().permutation(len(sizes))
    splits: list[Split] = ["train", *fractions]
    shares = np.array([1 - sum(fractions.values()), *fractions.values()])
    chosen = _cut(order, shares) if sizes.max() == 1 else _deal(order, sizes, shares)
    return {split: np.flatnonzero(chosen[groups] == number) for number, split in enumerate(splits)}


def _cut(order: Indices, shares: NDArray[np.float64]) -> Indices:
    """Return the split of each of equal groups: counts rounded, one at least."""
    counts = np.maximum(np.rint(shares * len(order)).astype(np.int64), 1)
    counts[0] = len(order) - counts[1:].sum()
    while counts[0] < 1:  # rounding up took the last training row
        counts[np.argmax(counts)] -= 1
        counts[0] += 1
    chosen = np.empty(len(order), np.int64)
    chosen[order] = np.repeat(np.arange(len(shares)), counts)
    return chosen


def _deal(order: Indices, sizes: Indices, shares: NDArray[np.float64]) -> Indices:
    """Return the split of each group, each to the split that lacks most rows."""
    chosen = np.empty(len(order), np.int64)
    missing = shares * sizes.sum()
    for group in order:
        chosen[group] = np.argmax(missing)
        missing[chosen[group]] -= sizes[group]
    for empty in range(len(shares)):
        if not (chosen == empty).any():
            held = np.bincount(chosen, minlength=len(shares))
            spare = np.flatnonzero(held[chosen] > 1)
            chosen[spare[np.argmin(sizes[spare])]] = empty
    return chosen


def group_numbers(rows: pa.Table, column: str) -> Indices:
    """Return each row's group: rows that share a value share a number; numbers follow first appearance.

    Raises: DataError if a row has no value, as nobody knows then which rows belong to it.
    """
    encoded = pc.dictionary_encode(rows[column]).combine_chunks()
    if encoded.null_count:
        raise DataError(
            f"column '{column}' is empty in {encoded.null_count} of {len(encoded)} rows, so that they belong to no "
            f"group; fill it, or remove these rows"
        )
    return np.asarray(encoded.indices.to_numpy(), np.int64)
