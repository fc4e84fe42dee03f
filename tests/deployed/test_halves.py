"""A run between organisations, all of it but the network and the processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import foedus
from deployed.loopback import courier, organisations
from end_to_end.small_runs import SITES, small_run
from foedus.api.coordinate import Federated, coordinate, enqueue
from foedus.api.playing import RunResult
from foedus.config.loading import load_config
from foedus.federation.run_folder import RunFolder


def data_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {name: {"kind": "files", "train": str(folder / "sites" / f"{name}.csv")} for name in SITES}


def deployed(folder: Path, config: dict[str, Any], **allow: Any) -> RunResult:
    resolved = load_config(config)
    given, pins = organisations(folder, data_of(folder), models=[str(config["model"]["path"])], **allow)
    way, _ = courier(given)
    run = RunFolder(folder / "deployed" / resolved.name)
    enqueue(resolved, run)
    return coordinate(run, Federated(way, list(SITES), pins))


def weights(result: RunResult) -> dict[str, Any]:
    return load_file(result.model / "model.safetensors")


def assert_same_run(one: RunResult, other: RunResult) -> None:
    """Everything but times agrees, as closely as sums in another order do: updates are added as they come."""
    expected, got = weights(one), weights(other)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-5)
    for left, right in zip(one.rounds, other.rounds, strict=True):
        expected_figures, got_figures = figures({**left, "seconds": 0}), figures({**right, "seconds": 0})
        assert expected_figures.keys() == got_figures.keys()
        for place, figure in expected_figures.items():
            assert got_figures[place] == (pytest.approx(figure, rel=1e-4) if isinstance(figure, float) else figure), (
                place
            )


def figures(value: Any, name: str = "") -> dict[str, Any]:
    """Return a record's values by their place in it."""
    if not isinstance(value, dict):
        return {name: value if isinstance(value, float) else repr(value)}
    return {place: figure for key, inner in value.items() for place, figure in figures(inner, f"{name}/{key}").items()}


# Adam divides a gradient that should be 0 by its own rounding errors, so that two orders of a sum part soon.
SGD: dict[str, Any] = {"local": {"optimizer": {"kind": "sgd"}, "learning_rate": 0.1}}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"strategy": {"kind": "scaffold", "weighting": "uniform"}},
        {"compression": {"kind": "fp16"}, "rounds": {"count": 3}},
    ],
    ids=["fedavg", "scaffold", "fp16"],
)
def test_a_run_between_organisations_is_the_embedded_run(tmp_path: Path, sections: dict[str, Any]) -> None:
    config = small_run(tmp_path, **SGD, **sections)
    assert_same_run(foedus.run(config), deployed(tmp_path, config))


def test_a_masked_run_between_organisations_ends_where_the_plain_one_does(tmp_path: Path) -> None:
    config = small_run(tmp_path, **SGD, evaluation={"per_site": False})
    masked = small_run(tmp_path / "masked", **SGD, evaluation={"per_site": False}, secure_sum="masks", name="masked")
    plain, hidden = weights(foedus.run(config)), weights(deployed(tmp_path / "masked", masked))
    for name, value in plain.items():
        assert value.allclose(hidden[name], atol=1e-4), name


def test_a_threshold_sum_whose_keys_lie_at_their_own_places_is_the_embedded_one(tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        **SGD,
        "secure_sum": {"kind": "threshold", "accept_unreviewed": True, "min_cohort": 3, "value_range": 1},
        "evaluation": {"per_site": False},
        "rounds": {"count": 1},
    }
    embedded = weights(foedus.run(small_run(tmp_path / "one", **sections)))
    apart = weights(deployed(tmp_path / "other", small_run(tmp_path / "other", **sections), unreviewed=True))
    for name, value in embedded.items():
        torch.testing.assert_close(apart[name], value, rtol=1e-4, atol=1e-5)
