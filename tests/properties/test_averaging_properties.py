from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from foedus.core import trees
from foedus.federation.collect import RunningSum
from foedus.federation.messages import LocalUpdate
from foedus.federation.protocols import Aggregate

LIKE = {"a": torch.zeros(2), "b": torch.zeros(())}
VALUES = st.floats(-1e4, 1e4, width=32)
WEIGHTS = st.floats(0.5, 1e5, allow_nan=False)


@st.composite
def updates(draw: st.DrawFn) -> LocalUpdate:
    def tree() -> dict[str, Tensor]:
        return {"a": torch.tensor([draw(VALUES), draw(VALUES)]), "b": torch.tensor(draw(VALUES))}

    return LocalUpdate({"delta": tree()}, draw(WEIGHTS), {"control": tree()}, {"loss": draw(VALUES)})


COHORTS = st.lists(updates(), min_size=1, max_size=6)


def averaged(cohort: Sequence[LocalUpdate]) -> Aggregate:
    total = RunningSum({"delta": LIKE}, {"control": LIKE})
    for update in cohort:
        total.add(update)
    return total.aggregate(population=10)


def exact_mean(cohort: Sequence[LocalUpdate], values: Sequence[float]) -> Fraction:
    weights = [Fraction(update.weight) for update in cohort]
    terms = [weight * Fraction(value) for weight, value in zip(weights, values, strict=True)]
    return sum(terms, Fraction(0)) / sum(weights, Fraction(0))


def close(left: Aggregate, right: Aggregate) -> bool:
    pairs = [(left.averaged["delta"], right.averaged["delta"]), (left.summed["control"], right.summed["control"])]
    return all(torch.allclose(a[n], b[n], rtol=1e-11, atol=1e-9) for a, b in pairs for n in LIKE)


@given(COHORTS, st.randoms(use_true_random=False))
def test_the_order_of_participants_changes_nothing_beyond_rounding(cohort: list[LocalUpdate], shuffle: object) -> None:
    shuffled = list(cohort)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined] # Hypothesis gives a random.Random
    assert close(averaged(shuffled), averaged(cohort))


@given(COHORTS)
def test_the_mean_equals_exact_rational_arithmetic(cohort: list[LocalUpdate]) -> None:
    mean = averaged(cohort).averaged["delta"]["b"]
    exact = exact_mean(cohort, [float(u.averaged["delta"]["b"]) for u in cohort])
    largest = max(abs(float(u.averaged["delta"]["b"])) for u in cohort)
    assert abs(Fraction(float(mean)) - exact) <= Fraction(1e-14) * Fraction(largest)


@given(updates(), st.lists(WEIGHTS, min_size=1, max_size=6))
def test_the_mean_of_equal_trees_is_that_tree_bit_for_bit(update: LocalUpdate, weights: list[float]) -> None:
    mean = averaged([LocalUpdate(update.averaged, weight, update.summed) for weight in weights]).averaged["delta"]
    assert all(torch.equal(mean[name].float(), update.averaged["delta"][name]) for name in LIKE)


@given(COHORTS, st.floats(1e-3, 1e3))
def test_scaling_every_weight_changes_no_mean(cohort: list[LocalUpdate], factor: float) -> None:
    rescaled = [LocalUpdate(u.averaged, u.weight * factor, u.summed, u.metrics) for u in cohort]
    assert close(averaged(rescaled), averaged(cohort))


@given(COHORTS, st.floats(-100, 100))
def test_means_and_sums_are_linear(cohort: list[LocalUpdate], factor: float) -> None:
    def scaled(update: LocalUpdate) -> LocalUpdate:
        return LocalUpdate(
            {"delta": trees.scale(trees.cast(update.averaged["delta"], DOUBLE), factor)},
            update.weight,
            {"control": trees.scale(trees.cast(update.summed["control"], DOUBLE), factor)},
        )

    before, after = averaged(cohort), averaged([scaled(update) for update in cohort])
    for name in LIKE:
        expected = before.averaged["delta"][name] * factor, before.summed["control"][name] * factor
        assert torch.allclose(after.averaged["delta"][name], expected[0], rtol=1e-11, atol=1e-7)
        assert torch.allclose(after.summed["control"][name], expected[1], rtol=1e-11, atol=1e-7)


DOUBLE = trees.accumulator_for(LIKE)


@given(COHORTS)
def test_sums_do_not_depend_on_weights(cohort: list[LocalUpdate]) -> None:
    total = averaged([LocalUpdate(u.averaged, 1.0, u.summed) for u in cohort]).summed["control"]
    assert all(torch.equal(total[name], averaged(cohort).summed["control"][name]) for name in LIKE)


@given(COHORTS)
def test_metrics_are_averaged_with_the_same_weights(cohort: list[LocalUpdate]) -> None:
    exact = exact_mean(cohort, [u.metrics["loss"] for u in cohort])
    largest = max(abs(u.metrics["loss"]) for u in cohort)
    assert abs(Fraction(averaged(cohort).metrics["loss"]) - exact) <= Fraction(1e-14) * Fraction(largest)


@given(COHORTS)
def test_a_mean_lies_between_its_parts(cohort: list[LocalUpdate]) -> None:
    parts = torch.stack([u.averaged["delta"]["b"].double() for u in cohort])
    mean = averaged(cohort).averaged["delta"]["b"]
    slack = 1e-14 * parts.abs().max()
    assert parts.min() - slack <= mean <= parts.max() + slack
