"""Who holds whose shares: everyone in a small cohort, a few neighbours chosen by lot in a large one.

In a large cohort each participant picks its own neighbours, after the roster stands, with its own
randomness; a coordinator that could steer the draw would surround a participant with its friends.
Two participants share a mask if either picked the other.
Sources: Bonawitz et al. 2017, ePrint 2017/281 (everyone); Bell et al. 2020, ePrint 2020/704 (neighbours).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.terms import PER_MILLE, Rules

Counts = NDArray[np.int64]

COMPLETE_BELOW = 64  # participants on the roster
PRIVACY_LOG2 = -40.0  # the greatest chance that a draw of neighbours leaves anyone exposed
FAILURE_LOG2 = -20.0  # the greatest chance that vanishing participants, as many as the rules say, stop the sum


@dataclass(frozen=True)
class Shape:
    """How a roster of this size shares secrets.

    neighbours: how many others each picks as holders, beside itself. share_threshold: how many of the
    neighbours + 1 holders open a secret. survivors_needed: how many of the roster must agree.
    colluders: how many may side with the coordinator, while the smallest sum is over two others at least.
    dropouts: how many may vanish after the roster stands.
    privacy_log2, failure_log2: chances of the draw, as powers of 2; -inf is never.
    """

    participants: int
    neighbours: int
    share_threshold: int
    survivors_needed: int
    colluders: int
    dropouts: int
    privacy_log2: float
    failure_log2: float

    def describe(self) -> str:
        """Return the shape and its chances in a sentence.

        >>> print(shape(5, Rules()).describe())
        5 participants: each shares with all 4 others, any 4 of 5 holders open a secret, 4 must stay to the end; \
safe against the coordinator and 2 colluding (certainly), survives 1 vanishing (certainly)
        """
        others = "all" if self.neighbours == self.participants - 1 else "its own draw of"
        return (
            f"{self.participants} participants: each shares with {others} {self.neighbours} others, "
            f"any {self.share_threshold} of {self.neighbours + 1} holders open a secret, "
            f"{self.survivors_needed} must stay to the end; safe against the coordinator and {self.colluders} "
            f"colluding ({_chance(self.privacy_log2)}), survives {self.dropouts} vanishing "
            f"({_chance(self.failure_log2)})"
        )


def _chance(log2: float) -> str:
    return "certainly" if log2 == -math.inf else f"but for a chance of 2^{log2:.1f}"


@lru_cache(maxsize=256)
def shape(participants: int, rules: Rules) -> Shape:
    """Return how so many participants share secrets.

    Raises: SecureSumError if the rules cannot be kept with so many.
    """
    needed = rules.survivors_needed(participants)
    if participants < COMPLETE_BELOW:
        return Shape(
            participants=participants,
            neighbours=participants - 1,
            share_threshold=needed,
            survivors_needed=needed,
            colluders=min(tolerated_colluders(participants, rules), needed - 2),
            dropouts=participants - needed,
            privacy_log2=-math.inf,
            failure_log2=-math.inf,
        )
    corrupt = tolerated_colluders(participants, rules)
    dropouts = participants * rules.dropout_per_mille // PER_MILLE
    if 2 * needed <= participants + corrupt:
        raise SecureSumError(
            f"a threshold of {needed} of {participants} allows two sets of survivors to be signed if {corrupt} "
            "collude; raise the threshold, or lower corrupt"
        )
    if needed > participants - dropouts:
        raise SecureSumError(
            f"the threshold is {needed} of {participants}, but {dropouts} may drop out; lower one of the two"
        )
    for neighbours in range(8, participants):
        if (found := _threshold(participants, neighbours, corrupt, dropouts, needed)) is not None:
            threshold, exposed, failed = found
            return Shape(participants, neighbours, threshold, needed, corrupt, dropouts, exposed, failed)
    raise SecureSumError(
        f"{participants} participants cannot have {corrupt} colluding and {dropouts} vanishing; lower one of the two"
    )


def tolerated_colluders(participants: int, rules: Rules) -> int:
    """Return how many of so many participants may side with the coordinator and still open nothing.

    Raises: SecureSumError if the roster is too small for these rules.
    """
    needed = rules.survivors_needed(participants)
    if participants < COMPLETE_BELOW:
        return 2 * needed - participants - 1
    return participants * rules.corrupt_per_mille // PER_MILLE


def withstood_colluders(participants: int, rules: Rules) -> int:
    """Return how many of so many may side with a coordinator that also chooses who is in which sum.

    It may ask any group that the rules allow. In the worst one, two others at least are in the sum, and it opens no
    further.
    Raises: SecureSumError if so many are too few for these rules.
    """
    rules.survivors_needed(participants)
    sizes = range(rules.least_survivors, participants + 1)
    return min(min(tolerated_colluders(size, rules), rules.survivors_needed(size) - 2) for size in sizes)


def _threshold(n: int, k: int, corrupt: int, dropouts: int, needed: int) -> tuple[int, float, float] | None:
    """Return the greatest share threshold that so many vanishing leave possible, if it is private; and both chances.

    Privacy takes that no honest participant has `threshold` corrupt neighbours, for those could open
    both its secrets, and that the honest survivors hang together, for the sum over a part of them that
    has no masks with the rest would be seen.
    """
    everyone = math.log2(n)
    # One that vanished is not among its own holders any more, but it is one of those who vanished.
    alive_others = n - dropouts if dropouts else n - 1
    threshold = k
    while threshold > 1 and everyone + log2_at_most(threshold - 1, n - 1, alive_others, k) > FAILURE_LOG2:
        threshold -= 1
    if threshold <= 1:
        return None
    failed = everyone + log2_at_most(threshold - 1, n - 1, alive_others, k)
    surrounded = everyone + log2_at_least(threshold, n - 1, corrupt, k)
    if surrounded > PRIVACY_LOG2:
        return None
    exposed = float(_log2_sum(np.array([surrounded, _log2_split(n, k, threshold, corrupt, needed)])))
    return (threshold, exposed, failed) if exposed <= PRIVACY_LOG2 else None


def _log2_split(n: int, k: int, threshold: int, corrupt: int, needed: int) -> float:
    """Return the log2 of a bound on the chance that the honest survivors can be split in two without masks between.

    The coordinator sees who picked whom and then says who vanished: B, of b honest ones. What is left
    falls into S and R, of s <= r with s + r >= needed - corrupt. For that, nobody in S may have picked
    one in R, nor the other way round; and, its own mask being opened, each in S has threshold - 1 picks
    at least in S or corrupt, and each in R in R or corrupt. Picks of the honest are independent. For each
    s the bound is the lesser of two sums: over S alone, by its picks, and over all divisions.
    """
    honest = n - corrupt
    sizes = np.arange(honest + 1)
    choose, factorials = _log2_choose(n), _log2_factorials(n)
    near = np.clip(sizes - 1, 0, None) + corrupt
    kept = _log2_sum(_log2_hypergeometric(np.arange(threshold - 1, k + 1), n - 1, near[:, None], k), axis=1)
    avoided = choose(n - 1 - sizes, k) - choose(n - 1, k)
    s, r = sizes[1 : honest // 2 + 1, None], sizes[None, 1:]
    possible = (s <= r) & (s + r <= honest) & (s + r >= needed - corrupt)
    vanished = np.where(possible, honest - s - r, 0)
    ways = factorials[honest] - factorials[s] - factorials[r] - factorials[vanished]
    terms = ways + s * np.minimum(kept[s], avoided[r]) + r * np.minimum(kept[r], avoided[s])
    by_division = _log2_sum(np.where(possible, terms, -math.inf), axis=1)
    by_picks = choose(honest, s[:, 0]) + s[:, 0] * kept[s[:, 0]]
    return float(_log2_sum(np.minimum(by_picks, by_division)))


def log2_at_least(successes: int, population: int, marked: int, draws: int) -> float:
    """Return log2 P[X >= successes], X hypergeometric: marked ones among draws without replacement."""
    if successes <= max(0, draws - (population - marked)):
        return 0.0
    if successes > min(marked, draws):
        return -math.inf
    return min(0.0, float(_log2_sum(_log2_hypergeometric(np.arange(successes, draws + 1), population, marked, draws))))


def _log2_hypergeometric(x: Counts, population: int, marked: Counts | int, draws: int) -> NDArray[np.float64]:
    choose = _log2_choose(population)
    return choose(marked, x) + choose(population - marked, draws - x) - choose(population, draws)


def log2_at_most(successes: int, population: int, marked: int, draws: int) -> float:
    """Return log2 P[X <= successes], X hypergeometric: so many unmarked ones at least."""
    return log2_at_least(draws - successes, population, population - marked, draws)


def _log2_choose(greatest: int) -> Callable[[Counts | int, Counts | int], NDArray[np.float64]]:
    """Return log2 of binomial coefficients up to a greatest n; -inf where there is no way to choose."""
    factorials = _log2_factorials(greatest)

    def choose(n: Counts | int, k: Counts | int) -> NDArray[np.float64]:
        n, k = np.broadcast_arrays(n, k)
        fits = (k >= 0) & (k <= n)
        inside = np.where(fits, k, 0)
        rest = np.where(fits, n - k, 0)
        return np.where(fits, factorials[n] - factorials[inside] - factorials[rest], -math.inf)

    return choose


@lru_cache(maxsize=64)
def _log2_factorials(greatest: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log2(np.arange(1, greatest + 1)))])


def _log2_sum(logs: NDArray[np.float64], axis: int = 0) -> NDArray[np.float64]:
    greatest = np.max(logs, axis=axis, keepdims=True)
    anchor = np.where(np.isinf(greatest), 0.0, greatest)
    with np.errstate(divide="ignore"):
        sums: NDArray[np.float64] = np.squeeze(anchor, axis) + np.log2(np.sum(np.exp2(logs - anchor), axis=axis))
    return sums


def pick(own: int, shape: Shape, entropy: Entropy) -> Sequence[int]:
    """Return the places on the roster of this participant's holders besides itself, rising.

    Everyone else in a complete graph; otherwise a uniform draw without replacement.
    """
    others = [index for index in range(shape.participants) if index != own]
    if shape.neighbours == len(others):
        return others
    for place in range(shape.neighbours):  # the beginning of a Fisher–Yates shuffle
        other = place + _below(len(others) - place, entropy)
        others[place], others[other] = others[other], others[place]
    return sorted(others[: shape.neighbours])


def _below(bound: int, entropy: Entropy) -> int:
    """Return a uniform number in [0, bound): draws from the uneven end are thrown away."""
    even = (1 << 32) // bound * bound
    while (drawn := int.from_bytes(entropy.draw(4), "big")) >= even:
        pass
    return drawn % bound
