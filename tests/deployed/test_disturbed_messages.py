"""Messages that were changed, repeated or made elsewhere, keys that are not the pinned ones, clocks, and full disks."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from deployed.loopback import Direct
from deployed.test_halves import SGD
from deployed.test_troubles import Played
from end_to_end.small_runs import SITES, small_run
from foedus.engines.link.frames import Header
from foedus.federation.checkpoints import save_trees
from foedus.federation.events import Event, RoundEnded
from foedus.privacy.signing.identity import Identity

MASKS = {"kind": "masks", "threshold": 2, "min_cohort": 2}
Disturb = Callable[[bytearray], bytearray]


def rounds_of(played: Played) -> list[Any]:
    return [record for record in played.play().rounds if record["round"] > 0]


def disturbed(monkeypatch: pytest.MonkeyPatch, name: str, change: Disturb) -> None:
    """Change every answer of one organisation to what its kind of work is asked for."""
    whole = Direct.call

    def call(self: Direct, to: str, header: Header, body: list[memoryview], timeout_s: float) -> Any:
        answer, content = whole(self, to, header, body, timeout_s)
        if to == name and content and header.get("kind") in {"train", "evaluate", "step"}:
            content = change(content)
            answer = {**answer, "total": len(content)}
        return answer, content

    monkeypatch.setattr(Direct, "call", call)


def test_a_participant_of_another_version_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SGD))
    other = re.compile(rb'(version\\*": ?)1')
    disturbed(monkeypatch, "south", lambda content: bytearray(other.sub(rb"\g<1>2", content, count=1)))
    for record in rounds_of(played):
        assert record["reports"] == 2
        assert "of version 2, and this side speaks version 1; install the same foedus" in record["left_out"]["south"]


@pytest.mark.parametrize("secure_sum", ["none", MASKS], ids=["plain", "masks"])
def test_an_answer_that_is_cut_costs_that_answer_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secure_sum: Any
) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SGD, evaluation={"per_site": False}, secure_sum=secure_sum))
    disturbed(monkeypatch, "south", lambda content: content[:-1])
    for record in rounds_of(played):
        assert record["stood"]
        assert record["reports"] == 2
        assert "cannot be read" in record["left_out"]["south"]


def test_answers_of_an_earlier_round_are_refused_under_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """South's first answers are replayed for all later ones of their kind: keys, shares and masked sums of round 1."""
    played = Played(tmp_path, small_run(tmp_path, **SGD, evaluation={"per_site": False}, secure_sum=MASKS))
    answers: list[bytearray] = []
    replaying: list[bytearray] = []

    def replay(content: bytearray) -> bytearray:
        if any(record["round"] > 0 for record in played.folder.records()) and not replaying:
            replaying.extend(answers)
        answers.append(bytearray(content))
        return bytearray(replaying.pop(0)) if replaying else content

    disturbed(monkeypatch, "south", replay)
    first, second = rounds_of(played)
    assert first["reports"] == 3
    assert (second["stood"], second["reports"]) == (True, 2)
    assert second["left_out"]["south"] != "did not answer"


def test_who_has_another_key_than_the_pinned_one_takes_no_part(tmp_path: Path) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SGD, evaluation={"per_site": False}, secure_sum=MASKS))
    home = played.made["south"].home
    object.__setattr__(home, "identity", Identity.create())
    assert all(record["reports"] == 2 for record in rounds_of(played))
    assert any(name == "south" and "but pinned is" in what for name, what in played.told)


def test_a_clock_that_is_ten_minutes_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {**SGD, "evaluation": {"per_site": False}, "secure_sum": MASKS}
    right, jumps, now = Played(tmp_path / "a", small_run(tmp_path / "a", **sections)), [600.0, -600.0], time.time
    expected = load_file(right.play().model / "model.safetensors")

    def wrong() -> float:
        jumps.reverse()
        return now() + jumps[0]

    monkeypatch.setattr(time, "time", wrong)
    result = Played(tmp_path / "b", small_run(tmp_path / "b", **sections)).play()
    assert [record["reports"] for record in result.rounds if record["round"] > 0] == [3, 3]
    for name, value in load_file(result.model / "model.safetensors").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)], capture_output=True, check=False)
        if os.geteuid() == 0 and Path("/proc").is_dir()
        else None
    )
    if made is None or made.returncode:
        pytest.skip("no disk can be made small here: that takes root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_at_the_coordinator_is_named_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SGD, rounds={"count": 3}), at=small_disk / "run")
    filler = small_disk / "filler"

    def fill(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 1:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

    with pytest.raises(OSError, match="No space left") as raised:
        played.play(fill)
    assert raised.value.errno == errno.ENOSPC
    filler.unlink()
    result = played.play()
    assert [record["round"] for record in result.rounds if record["round"] > 0] == [1, 2, 3]
    assert [record["reports"] for record in result.rounds if record["round"] > 0] == [len(SITES)] * 3


def test_a_checkpoint_that_finds_no_room_says_so_as_the_system_does(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        save_trees(small_disk / "x.safetensors", {"params": {"w": torch.zeros(5 << 20)}})
    assert raised.value.errno == errno.ENOSPC
