"""What a narrow common grid takes away is sent later, and the secure sum then rounds nothing further."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.compression.common_grid import on_common_grid
from foedus.compression.feedback import PART, RESIDUAL
from foedus.core.errors import ConfigError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, Clock, LocalUpdate
from foedus.federation.protocols import Algorithm, LocalTask, Memory, Part
from foedus.privacy.secure_sum.contents import Scale, contents_of_updates, write_update
from foedus.privacy.secure_sum.masks import word_type
from foedus.privacy.secure_sum.quantize import Grid, quantize, restore
from foedus.strategies.fedavg import fedavg

ANY: Broadcast = Broadcast({"params": {}}, Clock(0, 1))
NOBODY: LocalTask = None  # type: ignore[assignment] # the strategy below looks at no task


def sending(delta: list[float], weight: float = 1.0) -> Algorithm:
    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        return LocalUpdate({PART: {"w": torch.tensor(delta)}}, weight), {"other": {}}

    return replace(fedavg(), local=local)


def sent(update: LocalUpdate) -> torch.Tensor:
    tree: ParamTree = update.averaged[PART]
    return tree["w"]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=6),
    st.sampled_from([8, 16]),
    st.floats(0.1, 4.0),
    st.integers(1, 18),
)
def test_what_was_sent_and_what_is_kept_add_up_to_the_updates(
    delta: list[float], width: int, weight: float, participants: int
) -> None:
    grid = Grid(4.0, participants, width)
    algorithm, memory = on_common_grid(sending(delta, weight), grid), {}  # type: Algorithm, Memory
    total = torch.zeros(len(delta))
    for _ in range(5):
        update, memory = algorithm.local(NOBODY, ANY, memory)
        total += sent(update)
    assert torch.allclose(total + memory[RESIDUAL]["w"], 5 * torch.tensor(delta), atol=1e-4)
    assert "other" in memory
    assert ((sent(update) * weight).abs() <= 4.0 * (1 + 1e-6)).all()


def test_a_value_beyond_the_range_is_sent_in_several_rounds() -> None:
    algorithm, memory = on_common_grid(sending([3.0]), Grid(1.0, 1, 8)), {}  # type: Algorithm, Memory
    shares = []
    for _ in range(2):
        update, memory = algorithm.local(NOBODY, ANY, memory)
        shares.append(float(sent(update)))
    assert shares == [1.0, 1.0]
    assert float(memory[RESIDUAL]["w"]) == 4.0


@pytest.mark.parametrize("width", [8, 16])
def test_the_sum_rounds_nothing_further_and_clips_nothing(width: int) -> None:
    """The words that are summed are those that the participant knows of."""
    scale = Scale(0.7, 3.0, 5, delta_width=width)
    torch.manual_seed(0)
    delta = torch.randn(1000).tolist()
    update, _ = on_common_grid(sending(delta, 2.3), scale.grid(PART, 3.0)).local(NOBODY, ANY, {})
    like = {PART: {"w": torch.zeros(1000)}}
    contents = contents_of_updates(like, {}, scale)
    vector = contents.layout.zeros()
    write_update(update, (like, {}), scale, contents, vector)
    read = contents.read(vector)
    assert float(read["clipped"]) == 0
    [value] = [tensor for name, tensor in read.items() if '"w"' in name]
    assert torch.allclose(value / 2.3, sent(update).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("width", "participants"), [(8, 18), (16, 258), (8, 1), (16, 3)])
def test_no_sum_overflows_narrow_words_and_every_level_is_used(width: int, participants: int) -> None:
    grid = Grid(0.3, participants, width)
    total = np.zeros(2, dtype=word_type(width))
    for _ in range(participants):
        words = np.zeros(2, dtype=word_type(width))
        assert quantize(torch.tensor([9.0, -9.0]), grid, words) == 2
        total += words
    assert restore(total, grid).tolist() == pytest.approx([0.3 * participants, -0.3 * participants])
    assert grid.levels == ((1 << (width - 1)) - 1) // participants


def test_narrow_words_take_as_many_bytes_fewer() -> None:
    like = {PART: {"w": torch.zeros(1000)}, "optimizer": {"w": torch.zeros(10)}}
    sizes = [contents_of_updates(like, {}, Scale(1.0, 1.0, 5, delta_width=bits)).layout.counts for bits in (32, 16, 8)]
    assert [dict(counts).get(bits) for counts, bits in zip(sizes, (32, 16, 8), strict=True)] == [1010, 1000, 1000]
    assert all(dict(counts)[32] == 10 for counts in sizes[1:])


def test_a_strategy_that_sends_more_than_a_mean_is_refused() -> None:
    two = replace(fedavg(), parts=(Part(PART), Part("control")))
    with pytest.raises(ConfigError, match="compression"):
        on_common_grid(two, Grid(1.0, 3, 8))
