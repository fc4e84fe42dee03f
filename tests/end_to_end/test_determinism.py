"""The same seed gives the same bytes, and another seed others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import foedus
from end_to_end.small_runs import records, small_run, untimed, weights

pytestmark = pytest.mark.end_to_end

COHORTS: dict[str, Any] = {
    "all": "all",
    "fixed": {"kind": "fixed", "size": 2},
    "poisson": {"kind": "poisson", "rate": 0.6},
}


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_one_seed_gives_the_same_bytes_and_another_does_not(cohort: str, tuning: str, tmp_path: Path) -> None:
    config = small_run(tmp_path, model={"tuning": tuning}, rounds={"count": 4, "cohort": COHORTS[cohort]})
    first, second, other = (
        foedus.run({**config, "name": name, "seed": seed}).folder
        for name, seed in (("first", 1), ("second", 1), ("other", 2))
    )
    assert weights(first) == weights(second)
    assert untimed(first) == untimed(second)
    assert tokenizer_and_settings(first) == tokenizer_and_settings(second)
    assert weights(first) != weights(other)
    drawn = [[record["cohort"] for record in records(run)[1:]] for run in (first, other)]
    assert (drawn[0] == drawn[1]) == (cohort == "all")


def tokenizer_and_settings(run: Path) -> dict[str, str]:
    """Return the text files of the model's folder that say nothing of the run's own folder."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    return {name: (run / "model" / name).read_text() for name in names}


def test_an_adapters_settings_are_the_same_in_every_process(tmp_path: Path) -> None:
    """PEFT holds names of layers as a set, whose order the process chooses."""
    tuning = {"kind": "lora", "target_modules": ["all-linear"]}
    run = foedus.run(small_run(tmp_path, model={"tuning": tuning}, rounds={"count": 1})).folder
    names = json.loads((run / "model" / "adapter_config.json").read_text())["target_modules"]
    assert len(names) > 6
    assert names == sorted(names)


def test_what_is_watched_and_measured_changes_nothing(tmp_path: Path) -> None:
    plain = small_run(tmp_path, "gpt2", "causal_lm")
    plainly = foedus.run(plain).folder
    measured = {"every": 2, "per_site": False, "batch_size": 3}
    sparsely = foedus.run({**plain, "name": "sparse", "evaluation": measured}, observe=lambda event: None).folder
    assert weights(plainly) == weights(sparsely)


def test_a_participant_is_dealt_the_same_whoever_else_takes_part(tmp_path: Path) -> None:
    config = small_run(tmp_path, rounds={"count": 1})
    (tmp_path / "sites" / "west.csv").rename(tmp_path / "west.csv")
    without = foedus.run({**config, "name": "without"}).folder
    (tmp_path / "west.csv").rename(tmp_path / "sites" / "west.csv")
    beside = foedus.run({**config, "name": "beside"}).folder
    for site in ("north", "south"):
        assert records(without)[1]["sites"][site] == records(beside)[1]["sites"][site]
