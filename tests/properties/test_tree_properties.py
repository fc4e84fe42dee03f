from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from foedus.core import trees
from foedus.core.trees import ParamTree

SHAPES = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), max_size=2).map(tuple),
    min_size=1,
    max_size=4,
)
MODERATE = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)


@st.composite
def trees_of_one_shape(draw: st.DrawFn, count: int) -> list[dict[str, Tensor]]:
    """Return so many float64 trees of the same names and shapes, with small float32 values in them."""
    shapes = draw(SHAPES)

    def tensor(shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape)
        values = draw(st.lists(MODERATE, min_size=size, max_size=size))
        return torch.tensor(values, dtype=torch.float64).reshape(shape)

    return [{name: tensor(shape) for name, shape in shapes.items()} for _ in range(count)]


def close(left: ParamTree, right: ParamTree) -> bool:
    return left.keys() == right.keys() and all(torch.allclose(left[n], right[n], rtol=1e-12, atol=1e-9) for n in left)


def equal(left: ParamTree, right: ParamTree) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


@given(trees_of_one_shape(2))
def test_addition_commutes_and_subtraction_undoes_it(pair: list[ParamTree]) -> None:
    left, right = pair
    assert equal(trees.add(left, right), trees.add(right, left))
    assert close(trees.subtract(trees.add(left, right), right), left)


@given(trees_of_one_shape(2), MODERATE)
def test_adding_scaled_is_scaling_and_adding(pair: list[ParamTree], factor: float) -> None:
    left, right = pair
    assert close(trees.add_scaled(left, right, factor), trees.add(left, trees.scale(right, factor)))


@given(trees_of_one_shape(2), MODERATE)
def test_scaling_distributes_over_addition(pair: list[ParamTree], factor: float) -> None:
    left, right = pair
    together = trees.scale(trees.add(left, right), factor)
    assert close(together, trees.add(trees.scale(left, factor), trees.scale(right, factor)))


@given(trees_of_one_shape(2), MODERATE)
def test_adding_in_place_is_adding(pair: list[ParamTree], factor: float) -> None:
    left, right = pair
    total = trees.clone(left)
    trees.add_scaled_in_place(total, right, factor)
    assert equal(total, trees.add_scaled(left, right, factor))


@given(trees_of_one_shape(2), MODERATE)
def test_norm_is_a_norm(pair: list[ParamTree], factor: float) -> None:
    left, right = pair
    assert trees.norm(trees.add(left, right)) <= trees.norm(left) + trees.norm(right) + 1e-9
    assert math.isclose(trees.norm(trees.scale(left, factor)), abs(factor) * trees.norm(left), rel_tol=1e-12)
    assert (trees.norm(left) == 0) == all(not tensor.any() for tensor in left.values())


@given(trees_of_one_shape(1))
def test_norm_is_that_of_all_values_in_a_row(single: list[ParamTree]) -> None:
    [tree] = single
    row = torch.cat([tensor.flatten() for tensor in tree.values()])
    assert math.isclose(trees.norm(tree), float(torch.linalg.vector_norm(row)), rel_tol=1e-12)
    assert trees.count(tree) == row.numel()


@given(st.lists(st.floats(width=32), max_size=6), st.lists(st.floats(width=32), max_size=6))
def test_a_tree_is_finite_exactly_when_every_value_is(first: list[float], second: list[float]) -> None:
    tree = {"a": torch.tensor(first), "b": torch.tensor(second)}
    assert trees.is_finite(tree) == all(math.isfinite(value) for value in first + second)


@given(SHAPES, SHAPES)
def test_trees_agree_exactly_when_names_and_shapes_do(
    first: dict[str, tuple[int, ...]], second: dict[str, tuple[int, ...]]
) -> None:
    left, right = ({name: torch.zeros(shape) for name, shape in shapes.items()} for shapes in (first, second))
    assert (trees.mismatch(left, right) is None) == (first == second)


@given(trees_of_one_shape(2), MODERATE)
def test_no_function_changes_its_arguments(pair: list[ParamTree], factor: float) -> None:
    left, right = pair
    before = trees.clone(left), trees.clone(right)
    trees.add(left, right)
    trees.subtract(left, right)
    trees.scale(left, factor)
    trees.add_scaled(left, right, factor)
    trees.cast(left, right)
    trees.zip_with(torch.mul, left, right)
    trees.squared_norm(left)
    trees.is_finite(left)
    trees.add_scaled_in_place(trees.clone(left), right, factor)
    assert equal(left, before[0])
    assert equal(right, before[1])
