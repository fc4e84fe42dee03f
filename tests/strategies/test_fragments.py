from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import ConfigError
from foedus.strategies.fragments import fragments_of


def tree(**sizes: int) -> dict[str, torch.Tensor]:
    return {name.replace("__", "."): torch.zeros(size) for name, size in sizes.items()}


def test_blocks_are_dealt_out_in_strides_and_the_rest_where_there_is_least() -> None:
    params = tree(wte=50, h__0__a=10, h__1__a=10, h__2__a=10, h__2__b=5, h__10__a=10, ln_f=3, head=20)
    assert fragments_of(params, 2) == [["h.0.a", "h.2.a", "h.2.b", "head", "ln_f"], ["h.1.a", "h.10.a", "wte"]]


def test_a_second_stack_goes_on_counting() -> None:
    params = tree(decoder__block__0__a=1, decoder__block__1__a=1, encoder__block__0__a=1, encoder__block__1__a=1)
    first, second, third = fragments_of(params, 3)
    assert first == ["decoder.block.0.a", "encoder.block.1.a"]
    assert (second, third) == (["decoder.block.1.a"], ["encoder.block.0.a"])


@given(blocks=st.integers(0, 9), rest=st.lists(st.integers(1, 99), min_size=1, max_size=6), data=st.data())
def test_fragments_have_every_name_once_whatever_the_order(blocks: int, rest: list[int], data: st.DataObject) -> None:
    params = {f"model.layers.{i}.w": torch.zeros(7) for i in range(blocks)}
    params |= {f"outer{i}": torch.zeros(size) for i, size in enumerate(rest)}
    count = data.draw(st.integers(1, blocks + len(rest)))
    fragments = fragments_of(params, count)
    assert sorted(name for names in fragments for name in names) == sorted(params)
    assert all(fragments)
    shuffled = data.draw(st.permutations(list(params)))
    assert fragments_of({name: params[name] for name in shuffled}, count) == fragments


def test_more_fragments_than_there_is_to_send_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fragments is 5, but .* has 2 blocks and 1 tensors in none; use at most 3"):
        fragments_of(tree(h__0__a=1, h__1__a=1, ln_f=1), 5)
