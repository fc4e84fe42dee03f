import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import ConfigError
from foedus.privacy.events import (
    KINDS,
    Charge,
    CorrelatedGaussian,
    DistributedGaussian,
    DistributedSkellam,
    Event,
    Gaussian,
    PoissonGaussian,
    TruncatedPoissonGaussian,
    from_json,
    merged,
    to_json,
)

multipliers = st.floats(1e-3, 1e3)
rates = st.floats(1e-9, 1)
counts = st.integers(1, 10**9)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Gaussian, multipliers),
    st.builds(PoissonGaussian, multipliers, rates),
    st.builds(TruncatedPoissonGaussian, multipliers, rates, counts, counts),
    st.builds(CorrelatedGaussian, multipliers, counts, counts, counts),
)


@given(events)
def test_an_event_comes_back_from_json_to_the_last_bit(event: Event) -> None:
    assert from_json(to_json(event)) == event
    assert "\n" not in to_json(event)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        "{}",
        '{"version":1}',
        '{"version":1,"kind":"fixed_size_gaussian","noise_multiplier":1.0}',
        '{"version":2,"kind":"gaussian","noise_multiplier":1.0}',
        '{"version":1,"kind":"gaussian"}',
        '{"version":1,"kind":"gaussian","noise_multiplier":1.0,"relation":"replace_one"}',
        '{"version":1,"kind":"gaussian","noise_multiplier":"1.0"}',
        '{"version":1,"kind":"gaussian","noise_multiplier":true}',
        '{"version":1,"kind":"gaussian","noise_multiplier":0}',
        '{"version":1,"kind":"gaussian","noise_multiplier":NaN}',
        '{"version":1,"kind":"poisson_gaussian","noise_multiplier":1.0,"sampling_rate":1.5}',
        '{"version":1,"kind":"truncated_poisson_gaussian","noise_multiplier":1.0,"sampling_rate":0.5,'
        '"population":1.5,"cap":1}',
        '{"version":1,"kind":"distributed_gaussian","noise_multiplier":1.0,"cohort":3,"honest":4,"bits":16,'
        '"dimension":8}',
        '{"version":1,"kind":"distributed_skellam","noise_multiplier":1.0,"cohort":3,"honest":0,"bits":16,'
        '"dimension":8}',
    ],
)
def test_what_cannot_be_read_as_a_charge_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        from_json(text)


def test_no_event_can_state_a_relation_or_a_fixed_size() -> None:
    fields = {name for kind in KINDS.values() for name in kind.__dataclass_fields__}
    assert fields == {
        "noise_multiplier",
        "sampling_rate",
        "population",
        "cap",
        "rounds",
        "min_separation",
        "max_participations",
        "cohort",
        "honest",
        "bits",
        "dimension",
    }


def test_what_is_stored_stays_readable() -> None:
    stored = [
        '{"version":1,"kind":"gaussian","noise_multiplier":2}',
        '{"version":1,"kind":"poisson_gaussian","noise_multiplier":1.1,"sampling_rate":0.01}',
        '{"version":1,"kind":"truncated_poisson_gaussian","noise_multiplier":1.0,"sampling_rate":0.05,'
        '"population":1000,"cap":80}',
        '{"version":1,"kind":"correlated_gaussian","noise_multiplier":1.4,"rounds":200,"min_separation":20,'
        '"max_participations":10}',
        '{"bits":16,"cohort":91,"dimension":24576,"honest":79,"kind":"distributed_gaussian","noise_multiplier":1.6,'
        '"version":1}',
        '{"bits":16,"cohort":91,"dimension":24576,"honest":79,"kind":"distributed_skellam","noise_multiplier":1.6,'
        '"version":1}',
    ]
    assert [from_json(text) for text in stored] == [
        Gaussian(2),
        PoissonGaussian(1.1, 0.01),
        TruncatedPoissonGaussian(1.0, 0.05, 1000, 80),
        CorrelatedGaussian(1.4, 200, 20, 10),
        DistributedGaussian(1.6, 91, 79, 16, 24576),
        DistributedSkellam(1.6, 91, 79, 16, 24576),
    ]
    assert {json.loads(text)["kind"] for text in stored} == KINDS.keys()


def test_equal_events_are_counted_together_in_any_order() -> None:
    charges: list[Charge] = [(Gaussian(1.0), 2), (PoissonGaussian(1.0, 0.1), 3), (Gaussian(1.0), 5), (Gaussian(2.0), 0)]
    assert merged(charges) == merged(charges[::-1])
    assert dict(merged(charges)) == {Gaussian(1.0): 7, PoissonGaussian(1.0, 0.1): 3}


def test_nothing_can_be_taken_back() -> None:
    with pytest.raises(ConfigError, match="taken back"):
        merged([(Gaussian(1.0), 2), (Gaussian(1.0), -1)])
