import json
import time
from pathlib import Path

import pytest

from foedus.core.errors import RunFolderError
from foedus.federation.events import ParticipantReported, RoundEnded, RoundStarted, RunEnded, RunStarted
from foedus.federation.state import MAX_REFUSALS, STATE, StateFile, read_state

STARTED = RunStarted(
    name="letters",
    participants=("north", "south"),
    rounds=4,
    first_round=2,
    headline="accuracy",
    higher_is_better=True,
    parameters_sent=10,
    device="cpu",
)


def test_the_file_follows_a_run(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "letters", now=lambda: 0.0)
    assert read_state(tmp_path).phase == "waiting"
    state(STARTED)
    state(RoundStarted(2, ("north", "south")))
    assert {name: member.standing for name, member in read_state(tmp_path).members.items()} == {
        "north": "working",
        "south": "working",
    }
    state(ParticipantReported(2, "north", "train", None, None))
    state(ParticipantReported(2, "south", "train", None, None, failure="out of memory"))
    found = read_state(tmp_path)
    assert (found.phase, found.round, found.rounds, found.headline) == ("train", 2, 4, "accuracy")
    assert found.members["north"].seen == "1970-01-01T00:00:00+00:00"
    assert found.members["south"].seen is None
    assert [(refusal.participant, refusal.reason) for refusal in found.refusals] == [("south", "out of memory")]
    state(ParticipantReported(2, "north", "evaluate", None, None))
    assert read_state(tmp_path).phase == "evaluate"
    state(RoundEnded({"round": 2}))
    state(RunEnded(tmp_path, None, None, {"stopped": "the budget is spent"}))
    assert (read_state(tmp_path).phase, read_state(tmp_path).note) == ("ended", "the budget is spent")


def test_what_changes_soon_after_a_writing_is_written_too(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "letters", ["north", "south"])
    state(STARTED)
    state.seen("north")
    until = time.monotonic() + 20
    while read_state(tmp_path).members["north"].seen is None:
        assert time.monotonic() < until, "the file was not written again"
        time.sleep(0.01)


def test_counts_are_those_that_were_given(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "letters", ["north"])
    state.seen("north", {"train_rows": 12})
    state.seen("north")
    state.waits("south")
    assert read_state(tmp_path).members["north"].counts == {"train_rows": 12}


def test_refusals_are_bounded(tmp_path: Path) -> None:
    state = StateFile(tmp_path, "letters")
    for number in range(MAX_REFUSALS + 5):
        state.refused("north", f"{number} " + "x" * 10_000)
    found = read_state(tmp_path)
    assert len(found.refusals) == MAX_REFUSALS
    assert found.refusals[-1].reason.startswith(f"{MAX_REFUSALS + 4} ")
    assert (tmp_path / STATE).stat().st_size < MAX_REFUSALS * 700


def test_a_disk_that_takes_nothing_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("in the way")
    state = StateFile(tmp_path / "folder", "letters")
    state(STARTED)
    assert state.state.rounds == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"format": "foedus state 2"}), '{"format": "foedus state 1"}']
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE).write_text(text)
    with pytest.raises(RunFolderError, match=r"state\.json"):
        read_state(tmp_path)


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="has the run begun"):
        read_state(tmp_path)
