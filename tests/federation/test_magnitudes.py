import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import ParticipantError
from foedus.federation.magnitudes import COUNTS, LEAST, MOST, bounds_of, places
from foedus.federation.messages import LocalUpdate


def update(value: float, weight: float = 1.0) -> LocalUpdate:
    return LocalUpdate({"delta": {"w": torch.tensor([0.0, value, value / 2])}}, weight)


@given(st.floats(2.0**-60, 2.0**60), st.floats(2.0**-60, 2.0**60))
def test_the_bounds_are_the_next_powers_of_two(value: float, weight: float) -> None:
    single = float(torch.tensor(value))
    value_bound, weight_bound = bounds_of(places(update(-value, weight)))
    assert single <= value_bound < 2 * single
    assert weight <= weight_bound < 2 * weight


def test_each_participant_counts_once_in_each_half() -> None:
    counts = places(update(0.3, 5.0))
    assert counts.shape == (COUNTS,)
    assert counts[: COUNTS // 2].sum() == counts[COUNTS // 2 :].sum() == 1


def test_a_sum_is_bounded_by_the_largest_of_all() -> None:
    total = places(update(0.3, 5.0)) + places(update(1e-3, 100.0)) + places(update(0.1, 1.0))
    assert bounds_of(total) == (0.5, 128.0)


@pytest.mark.parametrize(("value", "exponent"), [(0.0, LEAST), (1e-30, LEAST), (1e30, MOST)])
def test_what_lies_outside_counts_at_the_end(value: float, exponent: int) -> None:
    assert bounds_of(places(update(value)))[0] == 2.0**exponent


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite_is_no_size(value: float) -> None:
    with pytest.raises(ParticipantError, match="NaN or infinite"):
        places(update(value))


def test_single_exact_numbers_are_no_values() -> None:
    exact = {"value": torch.tensor(1e9, dtype=torch.float64)}
    both = LocalUpdate({"delta": {"w": torch.tensor([0.25])}}, 1.0, {"norm": exact})
    assert bounds_of(places(both)) == (0.25, 1.0)
