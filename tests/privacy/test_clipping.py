from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import ParticipantError
from foedus.federation.messages import LocalUpdate
from foedus.privacy.clipping import clip, upload_norm


def update(*values: float, control: float = 0.0, dtype: torch.dtype = torch.float32) -> LocalUpdate:
    return LocalUpdate(
        averaged={"delta": {"x": torch.tensor(values, dtype=dtype)}},
        summed={"control": {"x": torch.tensor([control], dtype=dtype)}},
        weight=17.0,
        metrics={"loss": 0.25},
        counts={"steps": 3},
    )


def test_the_norm_is_joint_over_averaged_and_summed_trees() -> None:
    assert upload_norm(update(2.0, 3.0, control=6.0)) == 7.0


def test_an_update_within_the_norm_keeps_its_trees_to_the_last_bit() -> None:
    clipped, within = clip(update(0.3, 0.1, control=0.2), 1.0)
    assert within
    assert clipped.averaged["delta"]["x"].tolist() == update(0.3, 0.1).averaged["delta"]["x"].tolist()


def test_a_larger_one_is_scaled_down_as_a_whole() -> None:
    clipped, within = clip(update(2.0, 3.0, control=6.0), 0.7)
    assert not within
    assert clipped.averaged["delta"]["x"].tolist() == pytest.approx([0.2, 0.3], rel=1e-6)
    assert clipped.summed["control"]["x"].tolist() == pytest.approx([0.6], rel=1e-6)


def test_neither_weight_nor_metrics_nor_counts_leave() -> None:
    for norm in (100.0, 0.1):
        clipped, _ = clip(update(1.0, 2.0), norm)
        assert (clipped.weight, clipped.metrics, clipped.counts) == (1.0, {}, {})


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_refused(broken: float) -> None:
    with pytest.raises(ParticipantError, match="NaN or infinite"):
        clip(update(1.0, broken), 1.0)


@settings(deadline=None)
@given(
    st.lists(st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=False), min_size=1, max_size=20),
    st.floats(1e-6, 1e6),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_no_update_is_longer_than_the_norm_after_rounding(values: list[float], norm: float, dtype: torch.dtype) -> None:
    clipped, _ = clip(update(*values, control=values[0], dtype=dtype), norm)
    assert upload_norm(clipped) <= norm
