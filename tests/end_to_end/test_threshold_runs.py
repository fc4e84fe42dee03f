"""Runs from a configuration with secure_sum: threshold, alone and with each record hidden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import foedus
from end_to_end.secure_runs import RECORDS, SITES, STEPS, assembled, killing, secure_run
from foedus import privacy_ledger
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


@pytest.fixture(autouse=True)
def ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOEDUS_LEDGERS", str(tmp_path / "ledgers"))


def charged_steps() -> Mapping[str, int]:
    """Return how many of each participant's private steps are charged to its ledger, all settled."""
    rows = privacy_ledger()
    assert all(row["unsettled"] == 0 for row in rows)
    return {row["owner"]: sum(run["uses"] for run in row["runs"]) for row in rows}


def model(config: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    return load_file(foedus.run(config, debug=True).model / "model.safetensors")


def test_the_model_is_that_of_the_plain_run_to_half_a_step_of_the_grid(tmp_path: Path) -> None:
    """With each record hidden; noise follows from the seed, so that both runs draw the same."""
    seeded: dict[str, Any] = {"privacy": {**RECORDS, "noise": "reproducible"}, "rounds": {"count": 1}}
    hidden_config = hidden_run(tmp_path, name="hidden", **seeded)
    plain_config = plain_run(tmp_path, name="plain", **seeded)
    hidden, plain = model(hidden_config), model(plain_config)
    assembly, federation, state = assembled(hidden_config | {"name": "looked-at"})
    like = federation.algorithm.templates(state.params, averaged=True)
    scale = Scale(THRESHOLD["value_range"], 1.0, len(SITES), Threshold().value_bits)  # type: ignore[arg-type]
    half_a_step = contents_of_updates(like, {}, scale).entries[-1].grid.step / 2
    assert half_a_step < 1e-8
    assert assembly.config.secure_sum.kind == "threshold"
    report = write_report(assembly.config.run_folder.with_name("hidden")).read_text()
    assert "experimental: nobody outside has reviewed that cryptography" in report
    assert hidden.keys() == plain.keys()
    for name, expected in plain.items():
        allowed = half_a_step + 2**-23 * expected.abs().clamp(min=2**-20)  # and one rounding to float32
        assert ((hidden[name] - expected).abs() <= allowed).all(), name
    assert any(not torch.equal(plain[name], state.params[name]) for name in state.params)


def test_one_that_is_killed_late_costs_a_round_that_stays_paid(tmp_path: Path) -> None:
    _, federation, state = assembled(hidden_run(tmp_path))
    before = {name: tensor.clone() for name, tensor in state.params.items()}
    after, report = play_round(killing(federation, {"south": PHASES.index("open")}), state)
    assert report.privacy is not None
    assert report.privacy["redone"] == 0
    assert report.reason is not None
    assert "4 of 5 who made this round's key helped to open the sum" in report.reason
    assert all(torch.equal(after.params[name], tensor) for name, tensor in before.items())
    assert charged_steps() == dict.fromkeys(SITES, STEPS)


def test_without_consent_to_what_is_not_reviewed_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accept_unreviewed"):
        foedus.run(secure_run(tmp_path) | {"secure_sum": "threshold"})
