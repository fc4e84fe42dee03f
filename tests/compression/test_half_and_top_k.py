from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foedus.compression.half import half
from foedus.compression.top_k import top_k
from foedus.core.errors import ParticipantError


def test_half_precision_rounds_to_the_nearest_and_leaves_the_rest() -> None:
    values = torch.tensor([[1.0, 0.1, -3e-8], [65504.0, 1e-5, 0.0]])
    lost = values.clone()
    encoded = half(lost)
    assert torch.equal(encoded.decode(), values.half().float())
    assert torch.equal(encoded.decode() + lost, values)
    assert encoded.byte_size() == 12


def test_values_beyond_half_precision_are_refused() -> None:
    with pytest.raises(ParticipantError, match=r"values over 65504, the largest of fp16; use int8"):
        half(torch.tensor([1e5]))


def test_the_largest_values_arrive_and_the_others_are_left() -> None:
    lost = torch.tensor([[0.1, -5.0, 0.2], [3.0, 0.0, -0.3]])
    encoded = top_k(1 / 3)(lost)
    assert encoded.decode().tolist() == [[0, -5, 0], [3, 0, 0]]
    torch.testing.assert_close(lost, torch.tensor([[0.1, 0, 0.2], [0, 0, -0.3]]))
    assert encoded.byte_size() == 2 * (4 + 4)


@pytest.mark.parametrize(("count", "fraction", "kept"), [(10, 0.25, 2), (3, 0.01, 1), (1, 1.0, 1), (0, 0.5, 0)])
def test_a_share_of_each_tensor_is_kept_and_one_at_least(count: int, fraction: float, kept: int) -> None:
    assert top_k(fraction)(torch.randn(count)).values.numel() == kept


def test_a_number_without_axes_can_be_sent() -> None:
    assert top_k(0.1)(torch.tensor(2.5)).decode() == torch.tensor(2.5)


def test_places_that_do_not_exist_are_refused() -> None:
    encoded = top_k(0.5)(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    for places in ([0, 4], [-1, 2]):
        with pytest.raises(ParticipantError, match=r"a place outside a tensor of shape \(4,\)"):
            replace(encoded, places=torch.tensor(places, dtype=torch.int32)).decode()
    with pytest.raises(ParticipantError, match="values do not fit"):
        replace(encoded, values=torch.ones(3)).decode()
