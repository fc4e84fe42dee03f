"""Shamir's secret sharing: any `threshold` shares give the secret back, and fewer say nothing about it.

Source: Shamir 1979, "How to share a secret", Communications of the ACM 22(11).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError
from foedus.privacy.secure_sum.field import Field


def split(secret: int, threshold: int, points: Sequence[int], field: Field, entropy: Entropy) -> Mapping[int, int]:
    """Return a share for each point: the value there of a random polynomial whose value at 0 is the secret.

    Guarantee: over uniform entropy, the shares at any threshold - 1 points are uniform and independent
        of the secret.
    Raises: SecureSumError unless 1 <= threshold <= number of points, the points are different elements
        other than 0, and the secret is an element.
    """
    if not 1 <= threshold <= len(points):
        raise SecureSumError(f"a threshold of {threshold} was asked for over {len(points)} shares; it must lie within")
    if len(set(points)) != len(points) or not all(0 < point < field.prime for point in points):
        raise SecureSumError("shares need different points, none of them 0")
    if not 0 <= secret < field.prime:
        raise SecureSumError("the secret to be shared is not an element of the field")
    coefficients = [field.random(entropy) for _ in range(threshold - 1)]
    return {point: _evaluate(coefficients, secret, point, field.prime) for point in points}


def _evaluate(coefficients: Sequence[int], constant: int, point: int, prime: int) -> int:
    value = 0
    for coefficient in coefficients:
        value = (value + coefficient) * point % prime
    return (value + constant) % prime


def combine(shares: Mapping[int, int], threshold: int, field: Field) -> int:
    """Return the secret: the value at 0 of the polynomial through the shares at the lowest `threshold` points.

    A wrong share gives a wrong secret, without a sign: whoever needs to know must hold a commitment to it.
    Raises: SecureSumError if there are fewer shares than the threshold.
    """
    if len(shares) < threshold:
        raise SecureSumError(f"there are {len(shares)} shares of a secret; {threshold} are needed to open it")
    points = tuple(sorted(shares)[:threshold])
    weights = _weights_at_zero(points, field)
    return sum(weight * shares[point] for point, weight in zip(points, weights, strict=True)) % field.prime


@lru_cache(maxsize=4096)
def _weights_at_zero(points: tuple[int, ...], field: Field) -> tuple[int, ...]:
    """Return Lagrange's weights for the value at 0; many secrets are held at the same points.

    Points are places on a roster, so that products of their differences stay short until they are reduced; and all
    weights share one inversion (Montgomery 1987).
    """
    prime = field.prime
    everything = math.prod(points) % prime
    below = [point * math.prod(other - point for other in points if other != point) % prime for point in points]
    before = [1]
    for factor in below:
        before.append(before[-1] * factor % prime)
    inverse, weights = field.inverse(before[-1]), []
    for index in reversed(range(len(points))):
        weights.append(everything * before[index] * inverse % prime)
        inverse = inverse * below[index] % prime
    return tuple(reversed(weights))
