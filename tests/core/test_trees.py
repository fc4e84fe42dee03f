from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from foedus.core import trees
from foedus.core.seeds import SeedKey


def tree(**values: list[float]) -> dict[str, Tensor]:
    return {name: torch.tensor(numbers) for name, numbers in values.items()}


def same(left: trees.ParamTree, right: trees.ParamTree) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


LEFT, RIGHT = tree(a=[1.0, 2.0], b=[3.0]), tree(b=[5.0], a=[-1.0, 4.0])


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (trees.add(LEFT, RIGHT), tree(a=[0.0, 6.0], b=[8.0])),
        (trees.subtract(LEFT, RIGHT), tree(a=[2.0, -2.0], b=[-2.0])),
        (trees.scale(LEFT, -2.0), tree(a=[-2.0, -4.0], b=[-6.0])),
        (trees.add_scaled(LEFT, RIGHT, 0.5), tree(a=[0.5, 4.0], b=[5.5])),
        (trees.zip_with(torch.maximum, LEFT, RIGHT), tree(a=[1.0, 4.0], b=[5.0])),
        (trees.zeros_like(LEFT), tree(a=[0.0, 0.0], b=[0.0])),
        (trees.clone(LEFT), LEFT),
    ],
    ids=["add", "subtract", "scale", "add_scaled", "zip_with", "zeros_like", "clone"],
)
def test_trees_are_combined_by_name_whatever_their_order(result: trees.ParamTree, expected: trees.ParamTree) -> None:
    assert same(result, expected)


def test_norm_counts_every_tensor_once() -> None:
    assert trees.norm(tree(a=[1.0, 2.0], b=[2.0], c=[4.0])) == 5.0
    assert trees.squared_norm({}) == 0.0


def test_squared_norm_of_many_float32_values_has_float64_digits() -> None:
    ones = {"a": torch.full((2_000_001,), 0.1)}
    assert trees.squared_norm(ones) == pytest.approx(2_000_001 * float(torch.tensor(0.1)) ** 2, rel=1e-10)


def test_squared_norm_is_the_same_bits_in_any_order_of_names() -> None:
    randomness = SeedKey.from_seed(0).numpy()
    values = {str(i): torch.randn(3, generator=torch.Generator().manual_seed(i)) * 10**i for i in range(-8, 8)}
    expected = trees.squared_norm(values)
    for _ in range(50):
        names = randomness.permutation(list(values)).tolist()
        assert trees.squared_norm({name: values[name] for name in names}) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_coordinate_makes_a_tree_not_finite(bad: float) -> None:
    assert trees.is_finite(LEFT)
    assert not trees.is_finite(LEFT | tree(c=[0.0, bad, 1.0]))


def test_opposite_infinities_do_not_cancel() -> None:
    assert not trees.is_finite(tree(a=[math.inf, -math.inf]))


def test_the_largest_float32_values_are_finite_together() -> None:
    assert trees.is_finite({"a": torch.full((1000,), torch.finfo(torch.float32).max)})


def test_counts_and_bytes_follow_shapes_and_types() -> None:
    mixed = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16), "c": torch.zeros((), dtype=torch.int64)}
    assert trees.count(mixed) == 11
    assert trees.byte_size(mixed) == 24 + 8 + 8


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (tree(b=[9.0], a=[0.0, 0.0]), None),
        (tree(a=[0.0, 0.0]), "b is missing"),
        ({}, "a is missing, and 1 more"),
        (tree(a=[0.0, 0.0], b=[9.0], d=[1.0], c=[1.0]), "c is unknown, and 1 more"),
        (tree(a=[0.0], b=[9.0]), r"a has shape (1,), expected (2,)"),
    ],
)
def test_mismatch_names_the_first_difference(given: trees.ParamTree, expected: str | None) -> None:
    assert trees.mismatch(given, LEFT) == expected


def test_cast_takes_type_from_the_namesake() -> None:
    like = {"a": torch.zeros(2, dtype=torch.float16), "b": torch.zeros(1, dtype=torch.float64)}
    assert {name: t.dtype for name, t in trees.cast(RIGHT, like).items()} == {"a": torch.float16, "b": torch.float64}


def test_a_clone_shares_no_memory_and_has_no_history() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    copy = trees.clone({"a": parameter})["a"]
    with torch.no_grad():
        parameter.zero_()
    assert torch.equal(copy, torch.ones(2))
    assert not copy.requires_grad


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_an_accumulator_is_of_float32_at_least_and_stays_so(kind: torch.dtype) -> None:
    given = {"a": torch.tensor([0.1], dtype=kind)}
    total = trees.accumulator_for(given)
    trees.add_scaled_in_place(total, given, 3.0)
    assert total["a"].dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert float(total["a"]) == pytest.approx(3 * float(given["a"]), rel=1e-7)


def test_large_values_are_finite_even_where_their_sum_is_not() -> None:
    assert trees.is_finite({"a": torch.full((4,), 3e38)})
    assert not trees.is_finite({"a": torch.tensor([3e38, 3e38, float("inf")])})
    assert not trees.is_finite({"a": torch.tensor([float("inf"), float("-inf")])})


def test_copying_in_place_writes_into_the_models_own_parameters() -> None:
    model = torch.nn.Linear(1, 1)
    parameters = dict(model.named_parameters())
    trees.copy_in_place(parameters, {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([1.0])})
    assert float(model(torch.tensor([[3.0]])).detach()) == 7.0
    assert model.weight is parameters["weight"]
