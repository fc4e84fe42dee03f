"""How large an update's values and its weight are, told so coarsely that a sum over participants tells no one's.

Each participant counts 1 in one place of a vector: that of the power of two which its largest value stays below.
So it does for its weight. The sum says how many participants lie in which place, and the last place that is not 0
is all that is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foedus.core.errors import ParticipantError
from foedus.federation.messages import LocalUpdate

LEAST, MOST = -64, 63  # exponents; what is smaller, or larger, counts in the first, or the last, place
_PLACES = MOST - LEAST + 1
COUNTS = 2 * _PLACES  # the largest value's places, then the weight's


def places(update: LocalUpdate) -> Tensor:
    """Return the vector of one participant. Shape: (COUNTS,), int64.

    Single float64 numbers, as some strategies send, have words of their own and are no values here.
    Raises: ParticipantError if a value is not finite.
    """
    largest = 0.0
    for named in (update.decoded().averaged, update.summed):
        for tree in named.values():
            for tensor in tree.values():
                if tensor.dtype != torch.float64 and tensor.numel():
                    magnitude = float(tensor.detach().abs().max())
                    if not math.isfinite(magnitude):
                        raise ParticipantError("its update in a dry round holds NaN or infinite values")
                    largest = max(largest, magnitude)
    counts = torch.zeros(COUNTS, dtype=torch.int64)
    counts[_place(largest)] = 1
    counts[_PLACES + _place(update.weight)] = 1
    return counts


def bounds_of(counts: Tensor) -> tuple[float, float]:
    """Return the least powers of two that no participant's largest value, and none's weight, exceeds.

    >>> counts = torch.zeros(COUNTS, dtype=torch.int64)
    >>> counts[-3 - LEAST] = counts[-5 - LEAST] = 2
    >>> counts[_PLACES + 4 - LEAST] = 4
    >>> bounds_of(counts)
    (0.125, 16.0)
    """
    of_values, of_weights = (int(half.nonzero().max()) + LEAST for half in (counts[:_PLACES], counts[_PLACES:]))
    return math.ldexp(1.0, of_values), math.ldexp(1.0, of_weights)


def _place(value: float) -> int:
    """Return the place of the exponent e of which value <= 2^e."""
    mantissa, exponent = math.frexp(value)
    exponent = LEAST if value <= 0 else exponent - 1 if mantissa == 0.5 else exponent
    return min(max(exponent, LEAST), MOST) - LEAST
