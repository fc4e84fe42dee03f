from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from foedus.core import trees
from foedus.core.trees import ParamTree
from foedus.federation.collect import RunningSum
from foedus.federation.messages import LocalUpdate
from foedus.federation.protocols import Aggregate

LIKE = {"a": torch.zeros(2), "b": torch.zeros(())}
VALUES = st.floats(-1e4, 1e4, width=32)
WEIGHTS = st.floats(0.5, 1e5, allow_nan=False)


@st.composite
def updates(draw: st.DrawFn) -> LocalUpdate:
    def tree() -> dict[str, Tensor]:
        pair = torch.tensor([draw(VALUES), draw(VALUES)], dtype=torch.float64)
        return {"a": pair, "b": torch.tensor(draw(VALUES), dtype=torch.float64)}

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


@given(COHORTS)
def test_the_mean_of_float32_updates_is_right_to_float32(cohort: list[LocalUpdate]) -> None:
    singles = [LocalUpdate({"delta": in_float32(u.averaged["delta"])}, u.weight, {}, {}) for u in cohort]
    total = RunningSum({"delta": LIKE}, {})
    for update in singles:
        total.add(update)
    mean = total.aggregate(population=10).averaged["delta"]["b"]
    exact = exact_mean(singles, [float(u.averaged["delta"]["b"]) for u in singles])
    largest = max(abs(float(u.averaged["delta"]["b"])) for u in singles)
    assert mean.dtype == torch.float32
    # one rounding of 2^-24 for each product and sum, and two for the division
    assert abs(Fraction(float(mean)) - exact) <= Fraction(2 * len(cohort) + 2, 2**24) * Fraction(largest)


@given(updates())
def test_the_mean_of_one_update_is_that_update_bit_for_bit(update: LocalUpdate) -> None:
    single = LocalUpdate({"delta": in_float32(update.averaged["delta"])}, update.weight, update.summed)
    mean = averaged([single]).averaged["delta"]
    assert all(torch.equal(mean[name], single.averaged["delta"][name]) for name in LIKE)


def in_float32(tree: ParamTree) -> ParamTree:
    return {name: tensor.float() for name, tensor in tree.items()}


@given(COHORTS, st.floats(1e-3, 1e3))
def test_scaling_every_weight_changes_no_mean(cohort: list[LocalUpdate], factor: float) -> None:
    rescaled = [LocalUpdate(u.averaged, u.weight * factor, u.summed, u.metrics) for u in cohort]
    assert close(averaged(rescaled), averaged(cohort))


@given(COHORTS, st.floats(-100, 100))
def test_means_and_sums_are_linear(cohort: list[LocalUpdate], factor: float) -> None:
    def scaled(update: LocalUpdate) -> LocalUpdate:
        return LocalUpdate(
            {"delta": trees.scale(update.averaged["delta"], factor)},
            update.weight,
            {"control": trees.scale(update.summed["control"], factor)},
        )

    before, after = averaged(cohort), averaged([scaled(update) for update in cohort])
    for name in LIKE:
        expected = before.averaged["delta"][name] * factor, before.summed["control"][name] * factor
        assert torch.allclose(after.averaged["delta"][name], expected[0], rtol=1e-11, atol=1e-7)
        assert torch.allclose(after.summed["control"][name], expected[1], rtol=1e-11, atol=1e-7)


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
