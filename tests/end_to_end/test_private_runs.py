"""Runs with differential privacy, from the configuration to the report: what they spend, tell, and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import foedus
from end_to_end.small_runs import SITES, records, small_run, untimed, weights
from end_to_end.test_resuming import stopped
from foedus.cli.main import app
from foedus.core.errors import BudgetError, ConfigError, ModelError
from foedus.privacy.accounting import epsilon
from foedus.privacy.events import CorrelatedGaussian, PoissonGaussian
from tiny_models import LABELS, Family, Head

pytestmark = pytest.mark.end_to_end

RECORDS = {"kind": "records", "noise_multiplier": 1.0, "evaluation": "public"}
PARTICIPANTS = {"kind": "participants", "noise_multiplier": 1.0, "evaluation": "public", "delta": 0.1}
COINS = {"cohort": {"kind": "poisson", "rate": 0.5}}
STEPS = 2  # a round; there are two rounds


@pytest.fixture(autouse=True)
def ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ledgers"
    monkeypatch.setenv("FOEDUS_LEDGERS", str(folder))
    return folder


def private_run(
    folder: Path, family: Family = "bert", head: Head = "classification", **sections: Any
) -> dict[str, Any]:
    task = {"labels": list(LABELS)} if head == "classification" else {}
    given = {"privacy": RECORDS, "local": {"steps": STEPS}, "task": task} | sections
    return small_run(folder, family, head, **{**given, "task": {**task, **sections.get("task", {})}})


def spent_by_records(rounds: int, rows: int = 16) -> float:
    return epsilon([(PoissonGaussian(1.0, 4 / rows), STEPS * rounds)], 0.006)


@pytest.mark.parametrize(
    ("family", "head", "sections"),
    [
        ("bert", "classification", {"model": {"tuning": {"kind": "lora", "rank": 2}}}),
        ("bert", "classification", {"model": {"tuning": "head"}}),
        ("gpt2", "causal_lm", {}),
        ("gpt2", "causal_lm", {"task": {"packing": True}, "privacy": {**RECORDS, "record": "block"}}),
        ("bert", "masked_lm", {"local": {"steps": STEPS, "gradient_checkpointing": False, "precision": "bf16"}}),
        ("bert", "classification", {"strategy": {"kind": "fedprox", "mu": 0.1}}),
        ("bert", "classification", {"strategy": "scaffold", "local": {"steps": STEPS, "optimizer": "sgd"}}),
        ("bert", "classification", {"strategy": "fedadam", "compression": "int8"}),
    ],
)
def test_a_private_run_tells_what_it_spent_and_nothing_exact_of_any_site(
    tmp_path: Path, family: Family, head: Head, sections: dict[str, Any]
) -> None:
    result = foedus.run(private_run(tmp_path, family, head, **sections), debug=True)
    assert all(record["stood"] for record in result.rounds if record["round"])
    for record in result.rounds:
        assert "sites" not in record
        assert "sites" not in (record["evaluation"] or {})
        assert not record.get("train")
        assert record.get("tokens") is None
    summary = result.summary
    assert "sites" not in summary
    assert "samples" not in summary
    assert summary["privacy"]["private"]
    assert summary["privacy"]["epsilon"] == result.rounds[-1]["privacy"]["epsilon"]
    page = result.report.read_text()
    assert summary["privacy"]["statement"] in page
    assert summary["privacy"]["statement"] in (result.model / "README.md").read_text()


def test_what_is_spent_is_what_the_noise_the_sampling_and_the_steps_say(tmp_path: Path) -> None:
    result = foedus.run(private_run(tmp_path))
    told = [record["privacy"]["epsilon"] for record in result.rounds if record["round"]]
    assert told == pytest.approx([spent_by_records(1), spent_by_records(2)], rel=1e-3)
    assert result.summary["privacy"]["delta"] == 0.006  # 1 / (10 * 16), rounded down


def test_what_several_participants_spend_on_one_person_adds_up(tmp_path: Path) -> None:
    privacy = {**RECORDS, "person_at": "several_participants"}
    result = foedus.run(private_run(tmp_path, privacy=privacy))
    together = epsilon([(PoissonGaussian(1.0, 4 / 16), STEPS * 2 * len(SITES))], 0.006)
    assert result.summary["privacy"]["epsilon"] == pytest.approx(together, rel=1e-3)
    assert together > 1.5 * spent_by_records(2)


def test_two_private_runs_differ_and_two_reproducible_ones_do_not(tmp_path: Path) -> None:
    secret = [foedus.run(private_run(tmp_path, name=name)).folder for name in ("a", "b")]
    assert weights(secret[0]) != weights(secret[1])
    seeded = {**RECORDS, "noise": "reproducible"}
    runs = [foedus.run(private_run(tmp_path, name=name, privacy=seeded)).folder for name in ("c", "d")]
    assert weights(runs[0]) == weights(runs[1])
    assert untimed(runs[0]) == untimed(runs[1])


def test_reproducible_noise_is_said_to_protect_nobody_and_spends_nothing(tmp_path: Path, ledgers: Path) -> None:
    result = foedus.run(private_run(tmp_path, privacy={**RECORDS, "noise": "reproducible"}))
    assert result.summary["privacy"]["private"] is False
    assert result.summary["privacy"]["statement"].startswith("Reproducible, therefore not private")
    assert "therefore not private" in result.report.read_text()
    assert all(record["privacy"]["private"] is False for record in result.rounds if record["round"])
    assert not list(ledgers.glob("*.sqlite"))


def test_a_resumed_reproducible_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    seeded = {**RECORDS, "noise": "reproducible"}
    whole = foedus.run(private_run(tmp_path, name="whole", privacy=seeded)).folder
    resumed = foedus.resume(stopped(private_run(tmp_path, name="cut", privacy=seeded))).folder
    assert weights(resumed) == weights(whole)


def test_a_resumed_private_run_spends_no_more_than_an_uninterrupted_one(tmp_path: Path) -> None:
    resumed = foedus.resume(stopped(private_run(tmp_path)))
    assert resumed.summary["privacy"]["epsilon"] == pytest.approx(spent_by_records(2), rel=1e-3)


def test_runs_on_the_same_rows_add_up_until_the_budget_is_spent(tmp_path: Path) -> None:
    foedus.run(private_run(tmp_path, name="first"))
    limit = spent_by_records(3) * 1.01
    for site in SITES:
        foedus.set_privacy_budget(site, epsilon=limit, delta=0.006, participant=site)
    second = foedus.run(private_run(tmp_path, name="second"))
    assert [record["round"] for record in records(second.folder)] == [0, 1]
    assert second.summary["finished"] is False
    assert "budget" in second.summary["stopped"]
    assert second.summary["stopped"] in second.report.read_text().replace("&#39;", "'")
    with pytest.raises(BudgetError):
        foedus.run(private_run(tmp_path, name="third"))


def test_without_public_rows_each_site_keeps_its_own_figures_and_tells_none(tmp_path: Path, ledgers: Path) -> None:
    result = foedus.run(private_run(tmp_path, privacy={**RECORDS, "evaluation": "off"}))
    assert all(record["evaluation"] is None for record in result.rounds)
    assert result.summary["final"] is None
    for site in SITES:
        (own,) = (path for path in (ledgers / "reports" / site).iterdir() if not path.name.endswith(".bill.json"))
        told = [json.loads(line) for line in own.read_text().splitlines()]
        assert [line["round"] for line in told] == [0, 1, 2]
        assert all(0 <= line["accuracy"] <= 1 for line in told)
        assert own.stat().st_mode & 0o777 == 0o600
    assert (result.model / "README.md").is_file()


@pytest.mark.parametrize(
    ("privacy", "rounds"),
    [
        (PARTICIPANTS, COINS),
        ({**PARTICIPANTS, "noise_multiplier": 0.05, "clip": "adaptive"}, COINS),
        ({**PARTICIPANTS, "mechanism": "stream"}, {"cohort": {"kind": "cyclic", "separation": 2}, "count": 3}),
        ({**PARTICIPANTS, "noise": "reproducible"}, COINS),
    ],
)
def test_a_run_that_hides_participants_tells_of_no_cohort(
    tmp_path: Path, privacy: dict[str, Any], rounds: dict[str, Any]
) -> None:
    result = foedus.run(private_run(tmp_path, privacy=privacy, rounds=rounds), debug=True)
    for record in result.rounds[1:]:
        assert record["stood"]
        assert not {"cohort", "reports", "left_out", "weight", "train", "bytes", "seconds"} & record.keys()
    assert result.summary["privacy"]["unit"] == "participant"
    assert not [path for path in result.folder.rglob("*") if "noise" in path.name]
    assert result.report.is_file()


def test_a_stream_is_spent_whole_with_its_first_round(tmp_path: Path) -> None:
    groups = {"cohort": {"kind": "cyclic", "separation": 2}, "count": 3}
    result = foedus.run(private_run(tmp_path, privacy={**PARTICIPANTS, "mechanism": "stream"}, rounds=groups))
    whole = epsilon([(CorrelatedGaussian(1.0, 3, 2, 2), 1)], 0.1)
    assert [record["privacy"]["epsilon"] for record in result.rounds[1:]] == pytest.approx([whole] * 3, rel=1e-3)


def test_a_stream_goes_on_with_its_noise_after_a_stop(tmp_path: Path) -> None:
    groups = {"cohort": {"kind": "cyclic", "separation": 2}, "count": 3}
    run = stopped(private_run(tmp_path, privacy={**PARTICIPANTS, "mechanism": "stream"}, rounds=groups))
    key = run / ".noise-key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert not [path for path in (run / "checkpoints").rglob("*") if path.name == key.name]
    assert foedus.resume(run).summary["finished"]
    assert not key.exists()


def test_a_batch_larger_than_somebodys_rows_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is 32, but north has 16 training records"):
        foedus.run(private_run(tmp_path, local={"steps": STEPS, "batch_size": 8, "accumulation": 4}))


def test_a_delta_that_allows_to_publish_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1/16"):
        foedus.run(private_run(tmp_path, privacy={**RECORDS, "delta": 0.07}))


def test_a_comparison_without_noise_on_private_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without noise"):
        foedus.compare(private_run(tmp_path))


def test_the_plan_is_what_the_run_then_spends(tmp_path: Path, ledgers: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(private_run(tmp_path)))
    told = CliRunner().invoke(app, ["privacy", "plan", str(file), "--json"])
    assert told.exit_code == 0, told.output
    planned = json.loads(told.output)
    assert planned["promise"]["epsilon"] == pytest.approx(spent_by_records(2), rel=1e-3)
    assert set(planned["costs"]) == set(SITES)
    assert not ledgers.exists()
    shown = CliRunner().invoke(app, ["privacy", "plan", str(file)])
    assert "What is not protected" in shown.output
    without = CliRunner().invoke(app, ["privacy", "plan", str(file), "--set", "privacy.kind=none"])
    assert without.exit_code != 0


def test_a_model_whose_records_cannot_be_told_apart_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torch import nn

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    from foedus.config.model import tune

    def tuned_oddly(*args: Any) -> Any:
        model = tune(*args)
        model.odd = Odd()
        return model

    monkeypatch.setattr("foedus.config.side.tune", tuned_oddly)
    with pytest.raises(ModelError, match=r"odd\.scale"):
        foedus.run(private_run(tmp_path))
