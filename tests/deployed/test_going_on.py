"""A run between organisations that was stopped, or that too few took part in, is gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from deployed.test_halves import SGD
from deployed.test_troubles import Played
from end_to_end.small_runs import SITES, small_run
from foedus.api.run_queue import FAILED, RUNS, STOP, go_on, is_over, stop, waiting_runs, write_failure
from foedus.core.errors import LinkError, RoundError
from foedus.federation.events import Event, RoundEnded
from foedus.federation.state import StateFile, read_state

MASKS = {"kind": "masks", "threshold": 2, "min_cohort": 2}


def played_in_kit(folder: Path, config: dict[str, Any]) -> Played:
    """Return a run in the place where a coordinator's kit has it."""
    return Played(folder, config, folder / RUNS / "small")


def end(played: Played, error: RoundError) -> None:
    """Do what the coordinator's process does when a run ends early."""
    write_failure(played.folder, str(error), "RoundError")
    StateFile(played.folder.path, "small", SITES).stopped(str(error))


@pytest.mark.parametrize("sums", [{}, {"secure_sum": MASKS}], ids=["plain", "masks"])
def test_a_stopped_run_goes_on_from_its_last_whole_round_and_ends_as_if_nobody_had_stopped_it(
    tmp_path: Path, sums: dict[str, Any]
) -> None:
    sections = {**SGD, **sums, "evaluation": {"per_site": False}, "rounds": {"count": 3}}
    whole = Played(tmp_path / "whole", small_run(tmp_path / "whole", **sections)).play()
    played = played_in_kit(tmp_path, small_run(tmp_path, **sections))

    def refuse_when_stopped(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 1:
            stop(played.folder.path)
        if (played.folder.path / STOP).exists():
            raise RoundError("foedus stop was given")

    with pytest.raises(RoundError) as stopped:
        played.play(refuse_when_stopped)
    end(played, stopped.value)
    assert waiting_runs(tmp_path) == []
    go_on(played.folder.path)
    assert waiting_runs(tmp_path) == [played.folder]
    assert read_state(played.folder.path).phase == "waiting"
    rounds: list[int] = []
    result = played.play(lambda event: rounds.append(event.record["round"]) if isinstance(event, RoundEnded) else None)
    assert rounds == [2, 3]
    assert [record["round"] for record in result.rounds] == [0, 1, 2, 3]
    expected = load_file(whole.model / "model.safetensors")
    for name, value in load_file(result.model / "model.safetensors").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    with pytest.raises(LinkError, match="came to its end"):
        go_on(played.folder.path)


def test_a_run_that_too_few_took_part_in_goes_on_with_those_who_are_there_by_then(tmp_path: Path) -> None:
    played = played_in_kit(tmp_path, small_run(tmp_path, **SGD, rounds={"count": 2, "min_reports": 2}))
    played.carrier.cut = {"south", "west"}
    with pytest.raises(RoundError, match="1 of 3 organisations take part") as few:
        played.play()
    end(played, few.value)
    go_on(played.folder.path)
    played.carrier.cut = set()
    records = [record for record in played.play().rounds if record["round"] > 0]
    assert [record["reports"] for record in records] == [3, 3]


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A run that was stopped."""
    folder = tmp_path / RUNS / "small"
    StateFile(folder, "small", ["north"]).stopped("foedus stop was given")
    (folder / "config.yaml").write_text("name: small")
    (folder / STOP).touch()
    (folder / FAILED).write_text(json.dumps({"reason": "foedus stop was given", "type": "RoundError"}))
    return folder


def test_going_on_that_a_crash_cut_short_is_done_again(failed: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateFile, "waits", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go_on(failed)
    assert is_over(failed)
    go_on(failed)
    assert not is_over(failed)
    assert not (failed / STOP).exists()


def test_only_what_was_stopped_goes_on(failed: Path) -> None:
    go_on(failed)
    with pytest.raises(LinkError, match="nobody stopped it"):
        go_on(failed)
    stop(failed)
    go_on(failed)  # the coordinator had not seen it yet
    assert not (failed / STOP).exists()
