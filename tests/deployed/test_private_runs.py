"""Runs with differential privacy between organisations: each pays from its own ledger, before anything leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import foedus
from deployed.private import BUDGET, DISTRIBUTED, RECORDS, PrivateRun, budgeted, private_config, public_parts
from end_to_end.small_runs import SITES
from foedus.core.errors import RoundError
from foedus.federation.events import Event, RoundStarted
from foedus.privacy.outbox import Outbox

MASKS: dict[str, Any] = {"kind": "masks", "min_cohort": 3}


@pytest.mark.parametrize(
    "sections",
    [
        {"privacy": {**RECORDS, "noise": "reproducible"}},
        {"privacy": {**RECORDS, "noise": "reproducible", "sizes": "public"}, "strategy": {"weighting": "examples"}},
        {"privacy": {**DISTRIBUTED, "noise": "reproducible"}, "secure_sum": MASKS},
    ],
    ids=["records", "records of public sizes", "distributed"],
)
def test_with_reproducible_noise_a_run_between_organisations_is_the_embedded_run(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    config = private_config(tmp_path, **sections)
    embedded = foedus.run(config, debug=True)
    deployed = PrivateRun(tmp_path, config, public_parts(tmp_path)).play()
    expected = load_file(embedded.model / "model.safetensors")
    for name, value in load_file(deployed.model / "model.safetensors").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert deployed.summary["privacy"]["private"] is False
    assert deployed.summary["privacy"]["statement"].startswith("Reproducible, therefore not private")


def test_each_organisation_pays_from_its_own_ledger_and_tells_no_size(tmp_path: Path) -> None:
    run = PrivateRun(tmp_path, private_config(tmp_path, privacy=RECORDS, secure_sum=MASKS), budgeted(tmp_path))
    result = run.play()
    steps = 2 * 4  # rounds, and batches of 4 over 16 rows
    assert [run.uses(name) for name in SITES] == [steps] * 3
    said = result.summary["privacy"]
    assert (said["epsilon"], said["private"], said["unit"]) == (8.0, True, "record")
    assert said["delta"] == 0.02  # of a batch, not of anybody's rows
    assert sorted(bill["payer"] for bill in said["bills"]) == sorted(SITES)
    assert all(bill.keys() == {"payer", "sealed"} for bill in said["bills"])
    kept = json.loads(next((tmp_path / "homes" / "north").rglob("*.bill.json")).read_text())
    assert kept["events"][0]["count"] == steps
    assert not [limit for limit in said["limits"] if "did not tell" in limit]
    assert all(record["evaluation"] is None for record in result.rounds)


def test_where_sizes_are_public_bills_are_open(tmp_path: Path) -> None:
    privacy = {**RECORDS, "epsilon": None, "noise_multiplier": 1.0, "sizes": "public"}
    run = PrivateRun(tmp_path, private_config(tmp_path, privacy=privacy), budgeted(tmp_path, epsilon=50))
    said = run.play().summary["privacy"]
    assert all(bill["events"][0]["event"] for bill in said["bills"])
    assert 0 < said["epsilon"] < 50


def test_noise_that_organisations_add_is_charged_to_each_of_them(tmp_path: Path) -> None:
    config = private_config(tmp_path, privacy=DISTRIBUTED, secure_sum=MASKS)
    run = PrivateRun(tmp_path, config, budgeted(tmp_path, epsilon=50, delta=0.1, unit="participant"))
    result = run.play()
    assert [run.uses(name) for name in SITES] == [2, 2, 2]
    said = result.summary["privacy"]
    assert (said["unit"], said["private"]) == ("participant", True)
    assert [bill["events"][0]["count"] for bill in said["bills"]] == [2, 2, 2]


def test_whose_budget_is_spent_sits_out_by_name_and_tells_no_figure(tmp_path: Path) -> None:
    own = budgeted(tmp_path, epsilon=20)
    own["north"] |= budgeted(tmp_path)["north"]
    PrivateRun(tmp_path, private_config(tmp_path, privacy=RECORDS), own).play()
    again = PrivateRun(tmp_path / "again", private_config(tmp_path / "again", privacy=RECORDS), own)
    records = again.play().rounds
    assert {record["reports"] for record in records if record["round"] > 0} == {2}
    refused = [what for name, what in again.told if name == "north" and what != "is back"]
    assert set(refused) == {"refused: its own privacy budget does not allow this run; its own log says why"}
    assert any("allows epsilon 9, of which not one round" in line for line in again.logs["north"])


def test_where_nobodys_budget_allows_a_run_it_does_not_begin(tmp_path: Path) -> None:
    own = budgeted(tmp_path)
    PrivateRun(tmp_path, private_config(tmp_path, privacy=RECORDS), own).play()
    again = PrivateRun(tmp_path / "again", private_config(tmp_path / "again", privacy=RECORDS), own)
    with pytest.raises(RoundError, match="0 of 3 organisations take part"):
        again.play()
    assert again.folder.records() == []


def test_a_run_whose_budgets_are_spent_on_the_way_ends_in_order(tmp_path: Path) -> None:
    privacy = {**RECORDS, "epsilon": None, "noise_multiplier": 1.0, "sizes": "public"}
    sections: dict[str, Any] = {"privacy": privacy, "secure_sum": MASKS}
    whole = PrivateRun(tmp_path, private_config(tmp_path, **sections), budgeted(tmp_path, epsilon=50)).play()
    allowed = whole.rounds[1]["privacy"]["epsilon"] + 0.01  # of one round
    own = budgeted(tmp_path / "again", epsilon=50)
    own["north"] |= budgeted(tmp_path / "again", epsilon=allowed)["north"]
    again = private_config(tmp_path / "again", **sections, rounds={"count": 4, "min_reports": 1})
    result = PrivateRun(tmp_path / "again", again, own).play()
    assert [record["stood"] for record in result.rounds[1:]] == [True, False]
    assert "north said that their own privacy budgets allow no more" in result.summary["stopped"]


class Killed(Exception):  # noqa: N818 - it says what happened
    pass


@pytest.mark.parametrize("also", ["the coordinator alone", "everybody"])
def test_after_a_crash_a_finished_reply_is_sent_again_and_not_paid_twice(tmp_path: Path, also: str) -> None:
    run = PrivateRun(tmp_path, private_config(tmp_path, privacy=RECORDS), budgeted(tmp_path, epsilon=20))
    whole = type(run.way).ask
    asked = 0

    def lose(self: Any, letters: Any) -> Any:
        nonlocal asked
        answers = list(whole(self, letters))
        asked += any(letter.kind == "train" for letter in letters.values())
        if asked == 2:
            raise Killed  # all have trained, paid and answered in the second round, and nobody took note
        return iter(answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(run.way), "ask", lose)
        with pytest.raises(Killed):
            run.play()
    before = {name: run.uses(name) for name in SITES}
    if also == "everybody":
        for organisation in run.made.values():
            organisation.restart()
    result = run.play()
    assert {name: run.uses(name) for name in SITES} == before == dict.fromkeys(SITES, 8)
    assert result.rounds[-1]["reports"] == 3
    assert not list((tmp_path / "homes").rglob("outbox/*/*"))


def test_a_round_that_was_cut_before_it_was_answered_is_paid_again(tmp_path: Path) -> None:
    """What was reserved counts, since nobody knows what had left; training anew has other noise."""
    run = PrivateRun(tmp_path, private_config(tmp_path, privacy=RECORDS), budgeted(tmp_path, epsilon=20))
    whole = type(run.way).ask

    def die(*_: Any) -> None:
        raise Killed  # it has paid and trained, and its reply is not finished

    def lose(self: Any, letters: Any) -> Any:
        answers = list(whole(self, letters))
        if any(letter.kind == "train" for letter in letters.values()):
            raise Killed
        return iter(answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outbox, "put", die)
        patch.setattr(type(run.way), "ask", lose)
        with pytest.raises(Killed):
            run.play()
    assert [run.uses(name) for name in SITES] == [4, 4, 4]
    for organisation in run.made.values():
        organisation.restart()
    result = run.play()
    assert [run.uses(name) for name in SITES] == [12, 12, 12]
    assert result.summary["privacy"]["epsilon"] > 8  # more than the run was planned for, and it says so


def test_a_ledger_that_lost_the_run_keeps_its_organisation_out(tmp_path: Path) -> None:
    run = PrivateRun(tmp_path, private_config(tmp_path, privacy=RECORDS), budgeted(tmp_path))

    def kill(event: Event) -> None:
        if isinstance(event, RoundStarted) and event.round == 2:
            raise Killed

    with pytest.raises(Killed):
        run.play(kill)
    for path in (tmp_path / "ledgers" / "north").glob("*"):
        path.unlink()
    for organisation in run.made.values():
        organisation.restart()
    left_out = run.play().rounds[-1]["left_out"]
    assert left_out == {"north": "its own privacy ledger cannot be used for round 2; its own log says why"}


def test_a_budget_for_records_is_none_for_an_organisation(tmp_path: Path) -> None:
    config = private_config(tmp_path, privacy=DISTRIBUTED, secure_sum=MASKS)
    run = PrivateRun(tmp_path, config, budgeted(tmp_path, **{**BUDGET, "epsilon": 50}))
    with pytest.raises(RoundError):
        run.play()
    assert all("budget.unit is record" in what for _, what in run.told)
