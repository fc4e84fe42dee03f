from __future__ import annotations

import pytest

from foedus.core.errors import DataError
from foedus.data.labels import MAX_AGREED_LABELS, agree_on_labels, in_natural_order, require_known_labels


def test_agreed_labels_are_those_of_all_participants_whatever_their_order() -> None:
    assert agree_on_labels({"a": ["yes", "no"], "b": ["maybe", "no"]}) == ["maybe", "no", "yes"]
    assert agree_on_labels({"b": {"no", "maybe"}, "a": {"no", "yes"}}) == ["maybe", "no", "yes"]


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["-1", "0", "1.5", "-10"], ["-10", "-1", "0", "1.5"]),
        (["1", "01"], ["01", "1"]),
        (["stage 10", "stage 9", "stage"], ["stage", "stage 9", "stage 10"]),
        (["a2b10", "a2b9", "a10"], ["a2b9", "a2b10", "a10"]),
        (["7", "b", "1"], ["1", "7", "b"]),
        (["", "x"], ["", "x"]),
    ],
)
def test_numbers_in_labels_count_by_value(labels: list[str], ordered: list[str]) -> None:
    assert in_natural_order(labels) == ordered
    assert in_natural_order(reversed(labels)) == ordered


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(DataError, match=r"of two kinds or more, but there is only one: is task\.label"):
        agree_on_labels({"a": ["x"], "b": ["x"]})
    with pytest.raises(DataError, match="but there are none"):
        agree_on_labels({"a": []})


def test_so_many_labels_that_the_column_must_be_a_wrong_one_are_not_shared() -> None:
    agree_on_labels({"a": [str(n) for n in range(MAX_AGREED_LABELS)]})
    with pytest.raises(DataError, match=r"1001 different labels: is task\.label the right column\?"):
        agree_on_labels({"a": [str(n) for n in range(MAX_AGREED_LABELS + 1)]})


def test_participants_may_lack_listed_labels() -> None:
    require_known_labels({"a": ["x", "x"], "b": []}, ["x", "y"])


def test_unknown_labels_are_counted_by_participant_and_not_shown() -> None:
    labels = {"a": ["yes", "Ms Secret", "Ms Secret"], "b": ["no"], "c": [" Yes", "Ms Other"]}
    with pytest.raises(DataError) as caught:
        require_known_labels(labels, ["yes", "no"])
    assert str(caught.value) == (
        "rows whose label is not among the 2 of task.labels: a 2, c 2; 1 of these differ from a listed one in "
        "capitals or spaces only. List every label, or correct the files; the listed ones are: yes, no"
    )
