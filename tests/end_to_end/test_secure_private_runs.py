"""Masks together with hidden records: the same model as in the clear, whoever is killed, and each round paid once."""

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
from foedus.config import sections
from foedus.config.secure_sums import build_kind
from foedus.federation.round import play_round
from foedus.privacy.secure_sum.contents import Scale, contents_of_updates

pytestmark = pytest.mark.end_to_end

VICTIM = "shore"
PLAIN = {"kind": "none"}


@pytest.fixture(autouse=True)
def ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ledgers"
    monkeypatch.setenv("FOEDUS_LEDGERS", str(folder))
    return folder


def charged_steps() -> Mapping[str, int]:
    """Return how many of each participant's private steps are charged to its ledger, all settled."""
    rows = privacy_ledger()
    assert all(row["unsettled"] == 0 for row in rows)
    return {row["owner"]: sum(run["uses"] for run in row["runs"]) for row in rows}


def model(config: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    return load_file(foedus.run(config).model / "model.safetensors")


@pytest.mark.parametrize(("kind", "largest_error"), [("masks", 1e-8), ("ckks", 1e-5)])
def test_the_model_is_that_of_the_plain_run_to_half_a_step_of_the_grid(
    tmp_path: Path, kind: str, largest_error: float
) -> None:
    seeded: dict[str, Any] = {"privacy": {**RECORDS, "noise": "reproducible"}, "rounds": {"count": 1}}
    masked = secure_run(tmp_path, name="hidden", secure_sum={"kind": kind, "value_range": 1.0}, **seeded)
    hidden, plain = model(masked), model(secure_run(tmp_path, name="plain", secure_sum=PLAIN, **seeded))
    assembly, federation, state = assembled(masked | {"name": "looked-at"})
    chosen = assembly.config.secure_sum
    assert isinstance(chosen, sections.Masks | sections.Ckks)
    like = federation.algorithm.templates(state.params, averaged=True)
    contents = contents_of_updates(
        like, {}, Scale(chosen.value_range, 1.0, len(SITES), build_kind(chosen, len(SITES)).value_bits)
    )
    half_a_step = contents.entries[-1].grid.step / 2
    assert half_a_step < largest_error
    assert hidden.keys() == plain.keys()
    for name, expected in plain.items():
        allowed = half_a_step + 2**-23 * expected.abs().clamp(min=2**-20)  # and one rounding to float32
        assert ((hidden[name] - expected).abs() <= allowed).all(), name
    assert any(not torch.equal(plain[name], state.params[name]) for name in state.params)


def test_a_whole_run_spends_what_the_plain_one_does(tmp_path: Path) -> None:
    masked = foedus.run(secure_run(tmp_path, name="masked"), debug=True)
    plain = foedus.run(secure_run(tmp_path, name="plain", secure_sum=PLAIN))
    told = [[record["privacy"]["epsilon"] for record in run.rounds if record["round"]] for run in (masked, plain)]
    assert told[0] == told[1]
    assert [record["clipped"] for record in masked.rounds if record["round"]] == [0, 0]
    assert set(charged_steps().values()) == {4 * STEPS}  # two runs of two rounds


@pytest.mark.parametrize(
    ("kind", "exchange"), [(kind, exchange) for kind in ("masks", "ckks") for exchange in range(5)]
)
def test_one_that_is_killed_in_any_exchange_stops_nothing_and_has_spent_its_round(
    tmp_path: Path, kind: str, exchange: int
) -> None:
    _, federation, state = assembled(secure_run(tmp_path, secure_sum={"kind": kind, "value_range": 1.0}))
    federation = killing(federation, {VICTIM: exchange})
    state, first = play_round(federation, state)
    assert first.reason is None
    counted = len(SITES) - (exchange <= 2)  # who has sent its vector is in the sum
    assert first.collected.total.reports == counted
    state, second = play_round(federation, state)
    assert second.reason is None
    assert second.collected.total.reports == len(SITES) - 1
    assert second.evaluation is not None
    assert float(second.evaluation.union["loss"]) > 0
    # It was asked in both rounds, and nobody can know how far it came: what may have been released counts.
    assert charged_steps() == dict.fromkeys(SITES, 2 * STEPS)
    assert first.privacy is not None
    assert first.privacy["redone"] == 0


@pytest.mark.parametrize(
    ("exchange", "why"),
    [(0, "min_cohort is 4"), *((exchange, "the threshold is 4") for exchange in (1, 2, 3)), (4, "4 must")],
)
def test_below_the_threshold_a_round_is_lost_and_paid_once(tmp_path: Path, exchange: int, why: str) -> None:
    at_least_four = {"kind": "masks", "value_range": 1.0, "min_cohort": 4}
    _, federation, state = assembled(secure_run(tmp_path, secure_sum=at_least_four))
    before = {name: tensor.clone() for name, tensor in state.params.items()}
    after, report = play_round(killing(federation, {VICTIM: exchange, "west": exchange}), state)
    assert report.reason is not None
    assert why in report.reason
    assert all(torch.equal(after.params[name], tensor) for name, tensor in before.items())
    assert charged_steps() == dict.fromkeys(SITES, STEPS)
    assert report.privacy is not None
    assert report.privacy["redone"] == 0
