"""One data set → participants: which rows each one holds.

Every partition maps participants to ascending row numbers, with each row in exactly one of them. Each participant
has `minimum_rows` at least, or a DataError says what would give them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from foedus.core.errors import DataError
from foedus.core.seeds import SeedKey
from foedus.data.files import require_safe_names
from foedus.data.sites import SPLITS, Site, Split

Indices = NDArray[np.int64]
Partition = Mapping[str, Indices]

TRIES = 100  # draws from a Dirichlet distribution before giving up on the minimum of rows
HIGHEST_ALPHA = 1000.0  # as good as equal mixes; a larger one is not proposed


def by_column(values: Sequence[str], minimum_rows: int = 1) -> Partition:
    """Return one participant for each value, named by it, in the values' order.

    Raises: DataError also if a value cannot be a file's name.
    """
    names, codes = np.unique(np.asarray(values), return_inverse=True)
    sizes = np.bincount(codes)
    if (small := int((sizes < minimum_rows).sum())) > 0:  # their names may be private, if the column is a wrong one
        raise DataError(
            f"{small} of the {len(names)} values in the column that names the participants have fewer than "
            f"{minimum_rows} rows; remove their rows, give them more, or choose another column"
        )
    require_safe_names(map(str, names), "participants.into.column")
    return {str(name): np.flatnonzero(codes == code) for code, name in enumerate(names)}


def iid(rows: int, count: int, key: SeedKey, minimum_rows: int = 1) -> Partition:
    """Return equal parts, to within one row, of the rows in random order."""
    return by_sizes(rows, [1] * count, key, minimum_rows)


def by_sizes(rows: int, sizes: Sequence[float], key: SeedKey, minimum_rows: int = 1) -> Partition:
    """Return parts in proportion to the sizes, to within one row, of the rows in random order.

    Sizes that add up to the number of rows are met exactly.
    """
    counts = in_proportion(np.asarray(sizes, np.float64), rows)
    if counts.min() < minimum_rows:
        raise _too_few(rows, len(sizes), minimum_rows, "give more rows, or sizes that differ less")
    return _named(np.split(key.numpy().permutation(rows), np.cumsum(counts)[:-1]))


def shards(
    labels: Sequence[str], count: int, shards_per_participant: int, key: SeedKey, minimum_rows: int = 1
) -> Partition:
    """Return participants that hold a few runs each of the rows sorted by label, so few labels each.

    There are count * shards_per_participant runs of equal length, to within one row.
    Source: McMahan et al. 2017, section 3, arXiv:1602.05629.
    """
    randomness = key.numpy()
    classes = _class_numbers(labels)
    shuffled = randomness.permutation(len(classes))
    runs = np.array_split(shuffled[np.argsort(classes[shuffled], kind="stable")], count * shards_per_participant)
    dealt = randomness.permutation(len(runs)).reshape(count, shards_per_participant)
    parts = [np.concatenate([runs[run] for run in mine]) for mine in dealt]
    if min(map(len, parts)) < minimum_rows:
        raise _too_few(len(classes), count, minimum_rows, f"use a count of {len(classes) // minimum_rows} or less")
    return _named(parts)


def dirichlet_per_class(
    labels: Sequence[str], count: int, alpha: float, key: SeedKey, minimum_rows: int = 1
) -> Partition:
    """Return participants whose shares of each class are drawn from Dirichlet(alpha, …, alpha).

    Each class is dealt out on its own, so participants differ in size as well as in their mix. Draws that leave
    somebody with too few rows are repeated.
    Source: Yurochkin et al. 2019, section 4, arXiv:1905.12022; the repetition is Li et al.'s 2021, arXiv:2102.02079.
    """
    classes = _class_numbers(labels)
    class_sizes = np.bincount(classes)

    def draw(count: int, alpha: float) -> Indices | None:
        for attempt in range(TRIES):
            randomness = key.child("shares", attempt).numpy()
            shares = randomness.dirichlet([alpha] * count, size=len(class_sizes))
            counts = np.stack([in_proportion(s, n) for s, n in zip(shares, class_sizes, strict=True)], axis=1)
            if counts.sum(axis=1).min() >= minimum_rows:
                return counts
        return None

    counts = draw(count, alpha)
    if counts is None:
        raise _too_few(len(classes), count, minimum_rows, _better_draw(draw, count, alpha))
    return _named(_take_by_class(classes, counts, key.child("rows")))


def _better_draw(draw: Callable[[int, float], Indices | None], count: int, alpha: float) -> str:
    """Return which alpha, or else which count, gives everybody enough rows."""
    alphas = [alpha * 2.0**doublings for doublings in range(1, 40) if alpha * 2.0**doublings <= HIGHEST_ALPHA]
    enough_alpha = next((f"an alpha of {a:g}" for a in alphas if draw(count, a) is not None), None)
    enough_count = next((f"a count of {c}" for c in range(count - 1, 0, -1) if draw(c, alpha) is not None), None)
    answers = [answer for answer in (enough_alpha, enough_count) if answer]
    return f"in {TRIES} draws with alpha {alpha:g}; use {' or '.join(answers)}" if answers else "give more rows"


def dirichlet_per_participant(
    labels: Sequence[str], count: int, alpha: float, key: SeedKey, minimum_rows: int = 1
) -> Partition:
    """Return participants of equal size, to within one row, with label mixes from Dirichlet(alpha * p).

    p: the label shares of all rows, so alpha is the whole concentration, where dirichlet_per_class has one per
    participant. Rows are drawn without replacement. While a class has too few rows for all that want it, they
    draw lots, and draw anew from the classes that are left: nobody is served last, as in the source the last
    participants are.
    Source: Hsu et al. 2019, section 3, arXiv:1909.06335.
    """
    classes = _class_numbers(labels)
    left = np.bincount(classes)
    randomness = key.child("mixes").numpy()
    mixes = randomness.dirichlet(alpha * left / left.sum(), size=count)
    wanted = in_proportion(np.ones(count), len(classes))
    if wanted.min() < minimum_rows:
        raise _too_few(len(classes), count, minimum_rows, f"use a count of {len(classes) // minimum_rows} or less")
    counts = np.zeros((count, len(left)), np.int64)
    while wanted.any():
        weights = np.where(left > 0, mixes, 0.0)
        spent = weights.sum(axis=1) <= 0  # the classes of this participant's mix are all used up
        weights[spent] = left
        demand = randomness.multinomial(wanted, weights / weights.sum(axis=1, keepdims=True))
        for scarce in np.flatnonzero(demand.sum(axis=0) > left):
            demand[:, scarce] = randomness.multivariate_hypergeometric(
                demand[:, scarce], left[scarce], method="marginals"
            )
        counts += demand
        left -= demand.sum(axis=0)
        wanted -= demand.sum(axis=1)
    return _named(_take_by_class(classes, counts, key.child("rows")))


def deal_alike(
    partition: Partition, labels: Sequence[str], others: Sequence[str], key: SeedKey
) -> Mapping[str, Indices]:
    """Return whose the rows of a second table, such as a shared test file, are: alike in size and label mix.

    labels, others: the label of each row in the first and the second table; all the same where there are none.
    Each class of the second table is dealt in the proportions in which the first table's is; a class that the
    first lacks, in those of all rows. Every row goes to one participant; a small participant may get none.
    """
    known, classes = np.unique(np.asarray([*labels, *others]), return_inverse=True)
    first, second = classes[: len(labels)], classes[len(labels) :]
    held = np.stack([np.bincount(first[rows], minlength=len(known)) for rows in partition.values()])
    held = np.where(held.sum(axis=0) > 0, held, held.sum(axis=1, keepdims=True))
    sizes = np.bincount(second, minlength=len(known))
    randomness = key.child("counts").numpy()
    counts = randomness.multinomial(sizes, (held / held.sum(axis=0)).T).T
    return dict(zip(partition, _take_by_class(second, counts, key.child("rows")), strict=True))


def sites_of(tables: Mapping[Split, pa.Table], partitions: Mapping[Split, Mapping[str, Indices]]) -> list[Site]:
    """Return the participants with their rows; a split in which one has no rows is absent from it."""
    return [
        Site(
            name,
            {
                split: tables[split].take(partitions[split][name])
                for split in SPLITS
                if split in partitions and len(partitions[split].get(name, ()))
            },
        )
        for name in partitions["train"]
    ]


def _class_numbers(labels: Sequence[str]) -> Indices:
    classes: Indices = np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)
    return classes


def in_proportion(shares: NDArray[np.float64], total: int) -> Indices:
    """Return whole numbers that sum to `total`, each within one of its share: the largest remainders round up."""
    exact = shares / shares.sum() * total
    counts: Indices = np.floor(exact + 1e-9).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _take_by_class(classes: Indices, counts: Indices, key: SeedKey) -> list[Indices]:
    """Return the rows of each participant, given how many it gets of each class. counts: shape (participant, class)."""
    shuffled = key.numpy().permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    owners = np.concatenate([np.repeat(np.arange(len(counts)), of_class) for of_class in counts.T])
    return [by_class[owners == owner] for owner in range(len(counts))]


def _named(parts: Sequence[ArrayLike]) -> Partition:
    width = len(str(len(parts)))
    return {f"site-{number:0{width}d}": np.sort(np.asarray(part)) for number, part in enumerate(parts, 1)}


def _too_few(rows: int, count: int, minimum_rows: int, advice: str) -> DataError:
    return DataError(f"{rows} rows do not give {count} participants {minimum_rows} or more each; {advice}")
