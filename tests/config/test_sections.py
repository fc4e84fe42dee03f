from typing import get_args

import pytest
from pydantic import ValidationError

from foedus.config import sections
from foedus.config.structure import field_at, kinds_of, places_of
from foedus.reporting.trackers import PACKAGES


def test_the_trackers_are_those_that_can_be_written_to() -> None:
    assert set(get_args(sections.Tracker)) == set(PACKAGES)


def test_sections_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        sections.FedAvg().server_learning_rate = 2.0  # type: ignore[misc] # what must not work


def test_every_choice_has_each_kind_once() -> None:
    for place in ("task", "model", "model.tuning", "participants", "participants.into", "participants.scenario"):
        field = field_at(tuple(place.split(".")))
        assert field is not None
        kinds = kinds_of(field)
        assert kinds
        assert len({*kinds.values()}) == len(kinds)


def test_every_key_is_found() -> None:
    assert list(places_of("alpha")) == [
        ("model", "tuning", "alpha"),
        ("participants", "into", "alpha"),
        ("strategy", "alpha"),
    ]
    assert list(places_of("nothing")) == []
