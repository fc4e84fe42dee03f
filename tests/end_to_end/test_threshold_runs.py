"""Runs from a configuration with secure_sum: threshold, alone and with each record hidden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import foedus
from end_to_end.secure_runs import RECORDS, SITES, assembled, killing, secure_run
from foedus.core.errors import ConfigError
from foedus.federation.round import play_round
from foedus.privacy.secure_sum.contents import Scale, contents_of_updates
from foedus.privacy.threshold.kind import Threshold
from foedus.reporting.report import write_report

THRESHOLD = {"kind": "threshold", "accept_unreviewed": True, "value_range": 1.0}
PHASES = ("pledge", "show", "encrypt", "send", "open")


def hidden_run(folder: Path, **given: Any) -> dict[str, Any]:
    config = secure_run(folder, **given)
    return config | {"secure_sum": THRESHOLD}


def plain_run(folder: Path, **given: Any) -> dict[str, Any]:
    return secure_run(folder, **given) | {"secure_sum": "none"}


def model(config: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    return load_file(foedus.run(config, debug=True).model / "model.safetensors")


@pytest.mark.parametrize("privacy", [{"kind": "none"}, {**RECORDS, "noise": "reproducible"}])
def test_the_model_is_that_of_the_plain_run_to_half_a_step_of_the_grid(
    tmp_path: Path, privacy: Mapping[str, Any]
) -> None:
    seeded: dict[str, Any] = {"privacy": privacy, "rounds": {"count": 1}, "evaluation": {"per_site": False}}
    if privacy["kind"] == "none":
        seeded["strategy"] = {"kind": "fedavg", "weighting": "uniform"}
    without = {key: value for key, value in seeded.items() if key != "privacy"}
    hidden_config = hidden_run(tmp_path, name="hidden", **without) | {"privacy": privacy}
    plain_config = plain_run(tmp_path, name="plain", **without) | {"privacy": privacy}
    hidden, plain = model(hidden_config), model(plain_config)
    assembly, federation, state = assembled(hidden_config | {"name": "looked-at"})
    like = federation.algorithm.templates(state.params, averaged=True)
    scale = Scale(THRESHOLD["value_range"], 1.0, len(SITES), Threshold().value_bits)  # type: ignore[arg-type]
    half_a_step = contents_of_updates(like, {}, scale).entries[-1].grid.step / 2
    assert half_a_step < 1e-8
    assert assembly.config.secure_sum.kind == "threshold"
    assert hidden.keys() == plain.keys()
    for name, expected in plain.items():
        allowed = half_a_step + 2**-23 * expected.abs().clamp(min=2**-20)  # and one rounding to float32
        assert ((hidden[name] - expected).abs() <= allowed).all(), name
    assert any(not torch.equal(plain[name], state.params[name]) for name in state.params)


def test_a_run_says_in_its_report_that_its_cryptography_is_not_reviewed(tmp_path: Path) -> None:
    run = foedus.run(hidden_run(tmp_path, rounds={"count": 1}), debug=True)
    assert [record["clipped"] for record in run.rounds if record["round"]] == [0]
    report = write_report(run.folder).read_text()
    assert "experimental: nobody outside has reviewed that cryptography" in report


@pytest.mark.parametrize("exchange", range(len(PHASES)))
def test_one_that_is_killed_early_is_left_out_and_late_it_costs_a_round_that_stays_paid(
    tmp_path: Path, exchange: int
) -> None:
    _, federation, state = assembled(hidden_run(tmp_path))
    before = {name: tensor.clone() for name, tensor in state.params.items()}
    after, report = play_round(killing(federation, {"south": exchange}), state)
    assert report.privacy is not None
    assert report.privacy["redone"] == 0
    if exchange < PHASES.index("encrypt"):
        assert report.reason is None
        assert report.collected.total.reports == len(SITES) - 1
        return
    assert report.reason is not None
    assert "4 of 5" in report.reason
    assert all(torch.equal(after.params[name], tensor) for name, tensor in before.items())
    _, later = play_round(federation, after)
    assert report.privacy["epsilon"] < later.privacy["epsilon"]  # type: ignore[index]


def test_without_consent_to_what_is_not_reviewed_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accept_unreviewed"):
        foedus.run(secure_run(tmp_path) | {"secure_sum": "threshold"})
