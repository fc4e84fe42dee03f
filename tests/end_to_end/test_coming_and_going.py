"""Participants that come late, or leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import foedus
from end_to_end.small_runs import records, small_run, untimed, weights
from end_to_end.test_resuming import stopped
from foedus.core.errors import ConfigError
from foedus.federation.checkpoints import load_trees

pytestmark = pytest.mark.end_to_end

DILOCO: dict[str, Any] = {"kind": "diloco", "momentum": 0.5}
STREAMING: dict[str, Any] = {**DILOCO, "streaming": {"fragments": 2, "overlap": 1}}


def run_of(folder: Path, strategy: Any = DILOCO, **rounds: Any) -> dict[str, Any]:
    """Return a run of five rounds; west comes in the third, and south is there up to the fourth."""
    rounds = {"count": 5, "joins": {"west": 3}, "leaves": {"south": 4}} | rounds
    local = {"steps": 2, "batch_size": 3}
    return small_run(folder, "gpt2", "causal_lm", strategy=strategy, local=local, rounds=rounds)


def test_only_those_who_are_there_train_and_are_measured(tmp_path: Path) -> None:
    config = run_of(tmp_path)
    explained = foedus.explain(config)
    assert explained.problems == []
    assert explained.cohort == pytest.approx(12 / 5)
    first, *played = foedus.run(config).rounds
    there = [["north", "south"], ["north", "south"], ["north", "south", "west"], ["north", "south", "west"]]
    assert [record["cohort"] for record in played] == [*there, ["north", "west"]]
    assert list(first["evaluation"]["sites"]) == ["north", "south"]
    assert [list(record["evaluation"]["sites"]) for record in played] == [record["cohort"] for record in played]
    assert not any(record["left_out"] for record in played)


def test_before_it_comes_a_participant_changes_nothing(tmp_path: Path) -> None:
    with_west = foedus.run(run_of(tmp_path)).rounds
    (tmp_path / "sites" / "west.csv").unlink()
    without = foedus.run(run_of(tmp_path, joins={}) | {"name": "without", "participants": north_and_south(tmp_path)})
    for record, expected in zip(with_west[1:3], without.rounds[1:3], strict=True):
        assert record["sites"] == expected["sites"]
        assert record["evaluation"] == expected["evaluation"]
    assert with_west[3]["evaluation"] != without.rounds[3]["evaluation"]


def north_and_south(folder: Path) -> dict[str, Any]:
    return {"train": {name: str(folder / "sites" / f"{name}.csv") for name in ("north", "south")}}


@pytest.mark.parametrize("strategy", [DILOCO, STREAMING], ids=["diloco", "streaming"])
def test_a_joiner_starts_with_a_fresh_optimizer_and_the_run_can_be_resumed(strategy: Any, tmp_path: Path) -> None:
    config = run_of(tmp_path, strategy)
    run = stopped(config, rounds=3)
    folder = run / "checkpoints" / "round-00003" / "participants"
    steps = [
        {float(t) for name, t in load_trees(file)["optimizer"].items() if name.endswith("/step")}
        for file in sorted(folder.glob("*.safetensors"))
    ]
    assert steps == [{6.0}, {6.0}, {2.0}]  # north, south, west
    whole = foedus.run(config | {"name": "whole"}).folder
    foedus.resume(run)
    assert weights(run) == weights(whole)
    assert untimed(run) == untimed(whole)


def test_a_streaming_joiner_is_sent_the_whole_model_and_the_others_a_fragment(tmp_path: Path) -> None:
    sent = [record["bytes"]["down"] for record in foedus.run(run_of(tmp_path, STREAMING)).rounds[1:]]
    assert sent[0] > sent[1]
    # two whole models; two of the first fragment; two of the second and a whole model
    assert sent[1] + sent[2] - sent[0] / 2 == pytest.approx(sent[0], abs=100)
    assert sent[3] == pytest.approx(1.5 * sent[1], abs=100)  # then the first fragment again, for all three


@pytest.mark.parametrize(
    ("rounds", "reason"),
    [
        ({"joins": {"wst": 2}}, r"rounds\.joins: the run has no participant wst; did you mean west\?"),
        ({"min_reports": 3}, r"rounds\.min_reports is 3, but the run has 2 participants in round 1; use fewer"),
        (
            {"joins": {}, "leaves": {"west": 1, "south": 2}, "cohort": {"kind": "fixed", "size": 2}},
            r"rounds\.cohort\.size is 2, but the run has 1 participants in round 3; use at most 1, or cohort: all",
        ),
    ],
)
def test_rounds_that_could_not_stand_are_refused(rounds: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        foedus.run(run_of(tmp_path, **rounds))


def test_a_run_with_a_learnt_tokenizer_goes_on_with_the_same_one(tmp_path: Path) -> None:
    """It is learnt anew from the same counts, of all participants, those included who come later."""
    model = {
        "kind": "architecture",
        "type": "gpt2",
        "tokenizer": {"kind": "bpe", "vocabulary": 290},
        "options": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24},
    }
    config = {**run_of(tmp_path), "model": model}
    run = stopped(config, rounds=2)
    whole = foedus.run(config | {"name": "whole"}).folder
    foedus.resume(run)
    assert weights(run) == weights(whole)
    assert untimed(run) == untimed(whole)
    names = [(folder / "model" / "tokenizer.json").read_text() for folder in (run, whole)]
    assert names[0] == names[1]
    assert records(run)[-1]["round"] == 5
