"""Runs whose participants add the noise themselves, from the configuration to the ledgers, the report and a refusal."""

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
from foedus.core.errors import BudgetError
from foedus.privacy.accounting import epsilon
from foedus.privacy.events import DistributedGaussian, from_json
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger
from tiny_models import LABELS

pytestmark = pytest.mark.end_to_end

DISTRIBUTED = {
    "kind": "participants",
    "noise_multiplier": 4.0,
    "evaluation": "public",
    "delta": 0.1,
    "mechanism": {"kind": "distributed", "colluders": 0},
}


@pytest.fixture(autouse=True)
def ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ledgers"
    monkeypatch.setenv("FOEDUS_LEDGERS", str(folder))
    return folder


def distributed_run(folder: Path, **sections: Any) -> dict[str, Any]:
    given = {"privacy": DISTRIBUTED, "secure_sum": "masks", "local": {"steps": 2}, "task": {"labels": list(LABELS)}}
    return small_run(folder, **{**given, **sections})


def spent(rounds: int, summary: dict[str, Any]) -> float:
    length = int(summary["privacy"]["facts"]["numbers in an upload"].replace(",", ""))
    from foedus.privacy.distributed.rotation import padded_length

    return epsilon([(DistributedGaussian(4.0, 3, 3, 16, padded_length(length)), rounds)], 0.1)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"strategy": "fedadam", "privacy": {**DISTRIBUTED, "mechanism": {"kind": "distributed", "colluders": 0}}},
        {"strategy": "scaffold", "local": {"steps": 2, "optimizer": "sgd"}},
        {"model": {"tuning": {"kind": "lora", "rank": 2}}},
    ],
)
def test_a_run_tells_its_promise_and_spends_in_each_participants_own_ledger(
    tmp_path: Path, ledgers: Path, sections: dict[str, Any]
) -> None:
    result = foedus.run(distributed_run(tmp_path, **sections), debug=True)
    assert all(record["stood"] for record in result.rounds[1:])
    promise = result.summary["privacy"]
    assert promise["epsilon"] == pytest.approx(spent(2, dict(result.summary)))
    assert [record["privacy"]["epsilon"] for record in result.rounds[1:]] == pytest.approx(
        [spent(1, dict(result.summary)), spent(2, dict(result.summary))]
    )
    assert "the coordinator included" in promise["statement"]
    for record in records(result.folder)[1:]:
        assert not record["train"]  # neither losses nor counts are shown
        assert record["cohort"]
    for name in SITES:
        [account] = Ledger(participant_ledger(ledgers, name)).accounts()
        [spending] = account.spendings
        assert (spending.unit, spending.uses) == ("participant", 2)
        assert isinstance(from_json(spending.event), DistributedGaussian)
    card = (result.folder / "model" / "README.md").read_text()
    assert promise["statement"] in card
    assert "the coordinator included" in result.report.read_text()


def test_a_signed_run_is_verified_down_to_its_epsilon(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = CliRunner().invoke(app, ["keys", "new", "coordinator", *SITES, "--folder", str(keys)])
    assert made.exit_code == 0, made.output
    run = foedus.run(distributed_run(tmp_path, signatures={"kind": "ed25519", "keys": str(keys)}))
    checks = foedus.verify(run.folder).checks
    assert any(check.startswith("epsilon computed anew") for check in checks)
    assert any("secure sums signed their terms" in check for check in checks)


def test_two_private_runs_differ_and_two_reproducible_ones_do_not(tmp_path: Path) -> None:
    skellam = {"kind": "distributed", "colluders": 0, "distribution": "skellam", "bits": 14}
    seeded = {**DISTRIBUTED, "noise": "reproducible", "mechanism": skellam}
    runs = [
        foedus.run(distributed_run(tmp_path / name, privacy=section)).folder
        for name, section in (("a", DISTRIBUTED), ("b", DISTRIBUTED), ("c", seeded), ("d", seeded))
    ]
    assert weights(runs[0]) != weights(runs[1])
    assert weights(runs[2]) == weights(runs[3])
    assert untimed(runs[2]) == untimed(runs[3])
    assert (
        "Reproducible, therefore not private"
        in json.loads((runs[2] / "summary.json").read_text())["privacy"]["statement"]
    )


def test_one_participants_budget_stops_all_before_anything_is_sent(tmp_path: Path) -> None:
    first = foedus.run(distributed_run(tmp_path, name="first"))
    limit = spent(3, dict(first.summary)) * 1.01
    foedus.set_privacy_budget("north", epsilon=limit, delta=0.1, unit="participant", participant="north")
    second = foedus.run(distributed_run(tmp_path, name="second"))
    assert [record["round"] for record in records(second.folder)] == [0, 1]
    assert "budget north of north" in second.summary["stopped"]
    with pytest.raises(BudgetError):
        foedus.run(distributed_run(tmp_path, name="third"))


def test_budgets_of_ledgers_that_would_not_pay_are_refused_not_passed_by(tmp_path: Path) -> None:
    coordinators = {**DISTRIBUTED, "mechanism": "cohorts"}
    coins = {"secure_sum": "none", "rounds": {"cohort": {"kind": "poisson", "rate": 0.5}, "count": 1}}
    foedus.run(distributed_run(tmp_path, name="first", privacy=coordinators, **coins))
    foedus.set_privacy_budget("first", epsilon=9.0, delta=0.01, unit="participant", federation=True)
    with pytest.raises(BudgetError, match="under the federation's budget first"):
        foedus.run(distributed_run(tmp_path, name="second"))
    foedus.set_privacy_budget("west", epsilon=9.0, delta=0.1, unit="participant", participant="west")
    with pytest.raises(BudgetError, match="west limits by its budget west"):
        foedus.run(distributed_run(tmp_path, name="third", privacy=coordinators, **coins))


def test_an_interrupted_round_releases_nothing_twice_and_stays_charged(tmp_path: Path, ledgers: Path) -> None:
    run = stopped(distributed_run(tmp_path, rounds={"count": 3}))
    result = foedus.resume(run)
    assert result.summary["finished"]
    [account] = Ledger(participant_ledger(ledgers, "north")).accounts()
    assert sum(spending.uses for spending in account.spendings) >= 3


def test_explain_and_plan_say_what_the_run_then_spends(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(distributed_run(tmp_path)))
    told = CliRunner().invoke(app, ["privacy", "plan", str(file), "--json"])
    assert told.exit_code == 0, told.output
    planned = json.loads(told.output)
    assert set(planned["costs"]) == {"each participant"}
    shown = CliRunner().invoke(app, ["explain", str(file)])
    assert "the coordinator included" in shown.output.replace("\n", " ")
    assert planned["promise"]["epsilon"] == pytest.approx(foedus.run(file).summary["privacy"]["epsilon"])
