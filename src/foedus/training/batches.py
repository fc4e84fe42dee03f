"""Which examples go into which batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np

from foedus.core.seeds import SeedKey

# Examples of like length are looked for among so many batches' worth of shuffled ones: enough to
# save most padding, few enough to keep batches random.
POOL_OF_BATCHES = 50


def shuffled_batches(
    lengths: Sequence[int], batch_size: int, key: SeedKey, *, group_by_length: bool
) -> list[list[int]]:
    """Return every index once, in batches of `batch_size` (the last one may be smaller), in random order.

    group_by_length: put examples of like length together, which saves padding.
    """
    randomness = key.numpy()
    order = randomness.permutation(len(lengths)).tolist()
    if group_by_length:
        pool = POOL_OF_BATCHES * batch_size
        order = [
            i
            for start in range(0, len(order), pool)
            for i in sorted(order[start : start + pool], key=lambda i: -lengths[i])
        ]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if group_by_length:
        batches = [batches[i] for i in randomness.permutation(len(batches))]
    return batches


def ordered_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return every index once, longest examples first: for evaluation."""
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def steps_per_round(examples: int, batch_size: int, accumulation: int, epochs: int | None, steps: int | None) -> int:
    """Return the optimizer steps of a round.

    >>> steps_per_round(examples=100, batch_size=16, accumulation=2, epochs=3, steps=None)
    12
    """
    if steps is not None:
        return steps
    return (epochs or 1) * math.ceil(math.ceil(examples / batch_size) / accumulation)


def logical_batches(
    lengths: Sequence[int], batch_size: int, accumulation: int, steps: int, key: SeedKey, *, group_by_length: bool
) -> Iterator[Sequence[Sequence[int]]]:
    """Yield `steps` logical batches, each of at most `accumulation` batches; epochs follow one another."""

    def endless() -> Iterator[Sequence[Sequence[int]]]:
        for epoch in count():
            order = shuffled_batches(lengths, batch_size, key.child("epoch", epoch), group_by_length=group_by_length)
            yield from (order[start : start + accumulation] for start in range(0, len(order), accumulation))

    return islice(endless(), steps)
