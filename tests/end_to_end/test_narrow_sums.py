"""Pre-training under masks in fewer bytes: DiLoCo with int8 and int4 sums, on a tiny GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import foedus
from end_to_end.secure_runs import SITES, secure_run
from end_to_end.small_runs import losses, write_sites
from foedus.config.loading import load_config
from foedus.config.problems import problems
from foedus.core.errors import ConfigError

pytestmark = pytest.mark.end_to_end


def pretraining(folder: Path, **sections: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "privacy": {"kind": "none"},
        "strategy": {"kind": "diloco", "weighting": "tokens"},
        "secure_sum": {"kind": "masks"},
        "local": {"steps": 4, "learning_rate": 5e-3},
        "rounds": {"count": 4},
    }
    return secure_run(folder, "gpt2", "causal_lm", **given | sections)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, foedus.RunResult]:
    folder = tmp_path_factory.mktemp("narrow")
    return {
        kind: foedus.run(pretraining(folder, name=kind, compression=kind), debug=True)
        for kind in ("none", "int8", "int4")
    }


def test_the_bytes_drop_with_the_bits(runs: Mapping[str, foedus.RunResult]) -> None:
    up = {kind: run.rounds[1]["bytes"]["up"] / len(SITES) for kind, run in runs.items()}
    sent = runs["none"].summary["parameters"]["sent"]
    assert up["none"] - up["int8"] == 2 * sent
    assert up["none"] - up["int4"] == 3 * sent


def test_it_learns_as_well(runs: Mapping[str, foedus.RunResult]) -> None:
    found = {kind: losses(run.folder) for kind, run in runs.items()}
    assert all(record["stood"] for run in runs.values() for record in run.rounds if record["round"])
    gained = found["none"][0] - found["none"][-1]
    assert gained > 0.1
    assert found["int8"][-1] == pytest.approx(found["none"][-1], abs=0.02 * gained)
    assert found["int4"][-1] == pytest.approx(found["none"][-1], abs=0.25 * gained)


def test_the_dry_round_gives_narrow_words_no_margin(runs: Mapping[str, foedus.RunResult]) -> None:
    found: dict[str, Any] = {kind: load_config(run.folder / "config.yaml").secure_sum for kind, run in runs.items()}
    assert found["none"].value_range == 4 * found["int8"].value_range == 4 * found["int4"].value_range


def test_too_many_participants_for_the_bits_are_refused(tmp_path: Path) -> None:
    names = [f"site{number:02d}" for number in range(19)]
    many = {"train": str(write_sites(tmp_path / "many", rows=4, sites=names) / "*.csv")}
    with pytest.raises(ConfigError, match="at most 18 participants fit, and there are 19; use int8"):
        foedus.run(pretraining(tmp_path, compression="int4", participants=many))


@pytest.mark.parametrize(
    ("compression", "why"),
    [("top_k", "other places"), ("sparseloco", "other places"), ("fp16", "adds integers")],
)
def test_what_cannot_be_summed_is_refused_with_the_reason(tmp_path: Path, compression: str, why: str) -> None:
    found = problems(load_config(pretraining(tmp_path, compression=compression)))
    assert any(why in problem for problem in found)


def test_explain_counts_the_narrow_bytes(tmp_path: Path, runs: Mapping[str, foedus.RunResult]) -> None:
    explanation = foedus.explain(pretraining(tmp_path, compression="int8"))
    assert explanation.traffic is not None
    assert explanation.traffic.up == pytest.approx(runs["int8"].rounds[1]["bytes"]["up"] / len(SITES), rel=0.01)
