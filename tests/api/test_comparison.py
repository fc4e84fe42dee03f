"""A comparison: every arm on the same data, and the federated one is the run itself."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import foedus
from end_to_end.small_runs import SITES, losses, records, small_run, untimed
from foedus.core.errors import ConfigError, RunFolderError
from foedus.federation.events import Event, RunStarted
from foedus.reporting.records import read_comparison
from reporting.page_reading import assert_sound

pytestmark = pytest.mark.end_to_end

ARMS = ["federated", "pooled", "local only", "tf-idf"]


def arms(comparison: foedus.Comparison) -> Mapping[str, Any]:
    """Return each arm's figures of each seed, without times."""
    return {
        arm["name"]: [{key: value for key, value in run.items() if key != "seconds"} for run in arm["runs"]]
        for arm in comparison.table["arms"]
    }


def figures(value: Any) -> Iterator[float]:
    """Yield every number in a JSON value."""
    match value:
        case dict():
            for inner in value.values():
                yield from figures(inner)
        case list():
            for inner in value:
                yield from figures(inner)
        case int() | float():
            yield value


def test_every_arm_has_every_site_and_seed(tmp_path: Path) -> None:
    comparison = foedus.compare(small_run(tmp_path), seeds=2)
    assert comparison.folder == tmp_path / "runs" / "small-compare"
    assert json.loads((comparison.folder / "comparison.json").read_text()) == comparison.table
    assert comparison.table["seeds"] == [0, 1]
    found = arms(comparison)
    assert list(found) == ARMS
    for name, runs in found.items():
        assert [run["seed"] for run in runs] == [0, 1]
        for run in runs:
            assert set(run["sites"]) == set(SITES)
            assert all(math.isfinite(figure) for figure in figures(run))
            assert (run["all"] is None) == (name == "local only")
        assert runs[0]["sites"] != runs[1]["sites"]
    for run in found["local only"]:
        assert set(run["all_by_site"]) == set(SITES)
    for name in ("federated", "pooled"):
        assert [[point[0] for point in run["curve"]] for run in found[name]] == [[0, 1, 2]] * 2
    assert read_comparison(comparison.folder).seeds == [0, 1]
    page = assert_sound(comparison.report.read_text())
    assert all(name in page.text.casefold() for name in ARMS)


def test_the_federated_arm_is_the_run_itself(tmp_path: Path) -> None:
    config = small_run(tmp_path, model={"tuning": "lora"}, rounds={"cohort": {"kind": "fixed", "size": 2}}, seed=3)
    run = foedus.run(config)
    (federated,) = arms(foedus.compare(config))["federated"]
    assert federated["all"] == run.summary["final"]["all"]
    assert federated["sites"] == run.summary["final"]["sites"]
    assert federated["bytes"] == run.summary["bytes"]["down"] + run.summary["bytes"]["up"]
    assert [value for _, value in federated["curve"]] == [r["evaluation"]["all"]["accuracy"] for r in run.rounds]


def test_one_participant_alone_is_its_own_pool(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    for site in SITES[1:]:
        (tmp_path / "sites" / f"{site}.csv").unlink()
    found = arms(foedus.compare(config))
    (alone,), (pooled,) = found["local only"], found["pooled"]
    assert set(alone["sites"]) == set(pooled["sites"]) == {"north"}
    # The same rows and steps; only the order of batches is another's, which the accuracy of four rows may show.
    assert alone["sites"]["north"]["loss"] == pytest.approx(pooled["sites"]["north"]["loss"], rel=0.5)


def test_plain_training_is_measured_on_everybodys_rows_and_sends_nothing_else(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    comparison = foedus.compare(config)
    place = comparison.folder / "arms" / "seed-0"
    assert sorted(path.name for path in place.iterdir()) == [
        *(f"alone-{site}" for site in SITES),
        "federated",
        "pooled",
    ]
    for site in SITES:
        played = records(place / f"alone-{site}")
        assert [record["cohort"] for record in played] == [[site]] * 2  # no evaluation before, and one at the end
        assert [record["evaluation"] is not None for record in played] == [False, True]
        assert set(played[-1]["evaluation"]["sites"]) == set(SITES)
    assert [record.get("cohort") for record in records(place / "pooled")] == [None, ["pooled"], ["pooled"]]
    assert losses(place / "pooled")[-1] < losses(place / "pooled")[0]


def stop_at(arm: str) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        if isinstance(event, RunStarted) and arm in event.name:
            raise KeyboardInterrupt

    return observe


def test_an_interrupted_comparison_goes_on(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    whole = arms(foedus.compare(config | {"name": "whole"}, seeds=2))
    with pytest.raises(KeyboardInterrupt):
        foedus.compare(config, seeds=2, observe=stop_at("alone-south, seed 1"))
    place = tmp_path / "runs" / "small-compare" / "arms"
    before = {path.parent: records(path.parent) for path in place.rglob("rounds.jsonl")}
    assert len(before) == 5 + 3

    with pytest.raises(RunFolderError, match="already holds a run"):
        foedus.compare(config, seeds=2)
    comparison = foedus.compare(config, seeds=2, go_on=True)
    assert arms(comparison) == whole
    assert {path: records(path) for path in before} == before  # to the times taken: nothing was played again

    shutil.rmtree(place / "seed-1" / "alone-west")
    again = foedus.compare(config, seeds=2, go_on=True)
    assert arms(again) == whole
    assert untimed(place / "seed-1" / "alone-west") == untimed(
        tmp_path / "runs" / "whole-compare" / "arms" / "seed-1" / "alone-west"
    )


def test_a_comparison_goes_on_only_as_it_began_and_leaves_its_folder_alone(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        foedus.compare(config, observe=stop_at("pooled, seed 0"))
    kept = tmp_path / "runs" / "small-compare" / "config.yaml"
    before = kept.read_bytes()
    changed = config | {"local": {**config["local"], "learning_rate": 0.123}}
    with pytest.raises(RunFolderError, match=r"was begun with other settings \(local\); put them back"):
        foedus.compare(changed, go_on=True)
    assert kept.read_bytes() == before
    assert list(arms(foedus.compare(config, go_on=True))) == ARMS


def test_a_comparison_needs_sites_own_figures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.per_site is false, but a comparison shows"):
        foedus.compare(small_run(tmp_path, evaluation={"per_site": False}))


def test_language_models_are_compared_without_a_linear_baseline(tmp_path: Path) -> None:
    comparison = foedus.compare(small_run(tmp_path, "gpt2", "causal_lm"))
    assert list(arms(comparison)) == ARMS[:3]
    assert comparison.table["higher_is_better"] is False
    assert_sound(comparison.report.read_text())


def test_a_comparison_in_which_training_diverges_is_still_told(tmp_path: Path) -> None:
    config = small_run(tmp_path, local={"learning_rate": 1e30, "steps": 1}, rounds={"count": 1})
    comparison = foedus.compare(config)
    assert arms(comparison)["federated"][0]["all"] == {}
    assert_sound(comparison.report.read_text())


@pytest.mark.parametrize("rounds", [2, 4])
def test_a_participant_that_cannot_train_has_no_model_of_its_own(rounds: int, tmp_path: Path) -> None:
    config = small_run(tmp_path, "bert", "masked_lm", rounds={"count": rounds})
    # Filled cells of which the tokenizer keeps nothing.
    (tmp_path / "sites" / "south.csv").write_text("note\n" + "\u200b\n" * 10)
    comparison = foedus.compare(config)
    (alone,) = arms(comparison)["local only"]
    assert set(alone["all_by_site"]) == {"north", "west"}
    assert set(alone["sites"]) == {"north", "west"}
    assert_sound(comparison.report.read_text())
