import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from foedus.privacy.stored_results import cache_folder, stored_or_computed


class Counted:
    """A computation that knows how often it ran."""

    def __init__(self, answer: Sequence[float]) -> None:
        self.answer = answer
        self.runs = 0

    def __call__(self) -> Sequence[float]:
        self.runs += 1
        return self.answer


def only_file() -> Path:
    (path,) = (cache_folder() / "accounting").iterdir()
    return path


def test_equal_inputs_are_computed_once_and_others_anew() -> None:
    compute = Counted([1.5, 2.5, 0.1 + 0.2])
    assert stored_or_computed({"a": 1, "b": 2.5}, compute) == compute.answer
    assert stored_or_computed({"b": 2.5, "a": 1}, compute) == compute.answer
    assert compute.runs == 1
    stored_or_computed({"a": 1, "b": 2.6}, compute)
    assert compute.runs == 2


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"question": "", "answer": [1.5], "digest": ""}',
    ],
)
def test_a_damaged_file_is_computed_anew_and_replaced(damage: bytes) -> None:
    compute = Counted([1.5])
    stored_or_computed({"a": 1}, compute)
    only_file().write_bytes(damage)
    assert stored_or_computed({"a": 1}, compute) == [1.5]
    assert stored_or_computed({"a": 1}, compute) == [1.5]
    assert compute.runs == 2


def test_a_figure_changed_by_hand_is_not_believed() -> None:
    compute = Counted([1.5])
    stored_or_computed({"a": 1}, compute)
    kept = json.loads(only_file().read_text())
    only_file().write_text(json.dumps({**kept, "answer": [0.5]}))
    assert stored_or_computed({"a": 1}, compute) == [1.5]


def test_half_a_file_is_computed_anew() -> None:
    compute = Counted([1.5])
    stored_or_computed({"a": 1}, compute)
    whole = only_file().read_bytes()
    only_file().write_bytes(whole[: len(whole) // 2])
    assert stored_or_computed({"a": 1}, compute) == [1.5]
    assert only_file().read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compute = Counted([1.5])
    assert stored_or_computed({"a": 1}, compute) == [1.5]


def test_nothing_is_left_beside_the_result() -> None:
    stored_or_computed({"a": 1}, Counted([1.5]))
    assert only_file().suffix == ".json"


def test_the_folder_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "foedus"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "foedus"
