"""Rounds of so many seconds: as many steps as each participant finds time for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import foedus
from end_to_end.small_runs import records, small_run, untimed, weights
from end_to_end.test_resuming import stopped
from foedus.core.errors import ConfigError
from foedus.federation.checkpoints import load_trees

pytestmark = pytest.mark.end_to_end

SPEEDS = {"north": 4.0, "south": 1.9, "west": 0.1}  # steps a second


def timed(folder: Path, **given: Any) -> dict[str, Any]:
    """Return a run of three rounds of two seconds' steps at given speeds."""
    local = {"seconds": 2.0, "speeds": SPEEDS, "batch_size": 2, "steps": 4} | given.pop("local", {})
    return small_run(folder, "gpt2", "causal_lm", local=local, rounds={"count": 3}, **given)


def test_participants_of_given_speeds_make_the_steps_that_fit(tmp_path: Path) -> None:
    config = timed(tmp_path)
    explained = foedus.explain(config)
    assert [holding.steps for holding in explained.participants or ()] == [8, 3, 1]
    result = foedus.run(config)
    for record in result.rounds[1:]:
        assert {name: site["steps"] for name, site in record["sites"].items()} == {"north": 8, "south": 3, "west": 1}
        assert record["steps"] == 12
        assert record["weight"] == record["tokens"]
    assert weights(result.folder) == weights(foedus.run(config | {"name": "again"}).folder)


@pytest.mark.parametrize("strategy", ["diloco", "fednova", "fedavgm"])
def test_a_measured_run_is_played_again_from_its_record_to_the_same_bytes(strategy: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"strategy": strategy, "local": {"speeds": {}, "seconds": 0.05}}
    if strategy == "fednova":
        given["local"] |= {"optimizer": "sgd"}
    config = timed(tmp_path, **given)
    first = foedus.run(config)
    again = foedus.run(
        config | {"name": "again", "local": config["local"] | {"replay": str(first.folder), "speeds": {}}}
    )
    assert weights(first.folder) == weights(again.folder)
    assert [record["sites"] for record in first.rounds[1:]] == [record["sites"] for record in again.rounds[1:]]


def test_a_measured_run_goes_on_with_the_steps_that_its_checkpoint_fixes(tmp_path: Path) -> None:
    config = timed(tmp_path, local={"speeds": {}, "seconds": 0.05})
    run = stopped(config, rounds=2)
    memories = sorted((run / "checkpoints" / "round-00002" / "participants").glob("*.safetensors"))
    speeds = [float(load_trees(file)["speed"]["value"]) for file in memories]
    assert len(speeds) == 3
    foedus.resume(run)
    steps = [site["steps"] for site in records(run)[3]["sites"].values()]
    assert steps == [max(1, int(0.05 * speed + 1e-9)) for speed in speeds]


def test_a_run_at_given_speeds_ends_the_same_when_it_was_stopped(tmp_path: Path) -> None:
    config = timed(tmp_path, strategy="diloco")
    run = stopped(config, rounds=1)
    whole = foedus.run(config | {"name": "whole"}).folder
    foedus.resume(run)
    assert weights(run) == weights(whole)
    assert untimed(run) == untimed(whole)


def test_an_unknown_participant_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"local\.speeds: the run has no participant nrth; did you mean north\?"):
        foedus.run(timed(tmp_path, local={"speeds": {"nrth": 1.0}}))


def test_a_record_that_does_not_tell_the_steps_is_refused(tmp_path: Path) -> None:
    config = timed(tmp_path, evaluation={"per_site": False})
    first = foedus.run(config | {"name": "first"}).folder
    local = config["local"] | {"speeds": {}, "replay": str(first)}
    with pytest.raises(ConfigError, match=r"does not tell how many steps each participant made in round 1; a run with"):
        foedus.run(config | {"local": local})
    longer = config | {"local": local, "rounds": {"count": 4}}
    assert "has records of 3 rounds, and this run has 4" in "\n".join(foedus.explain(longer).problems)


def test_the_arms_of_a_comparison_would_not_make_the_same_steps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"local\.seconds lets participants make as many steps .* set local\.steps"):
        foedus.compare(timed(tmp_path))


def test_the_saved_configuration_says_what_was_resolved(tmp_path: Path) -> None:
    result = foedus.run(timed(tmp_path, local={"steps": None}))
    saved = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert saved["local"]["steps"] == 10
    assert saved["strategy"]["weighting"] == "tokens_seen"
    assert json.loads((result.folder / "summary.json").read_text())["tokens"]["trained"] > 0


def test_explain_says_where_steps_are_not_known_beforehand(tmp_path: Path) -> None:
    measured = foedus.explain(timed(tmp_path, local={"speeds": {"north": 1.0}}))
    assert [holding.steps for holding in measured.participants or ()] == [2, 4, 4]
    assert any(note.startswith("a round lasts about 2 seconds of training") for note in measured.notes)
