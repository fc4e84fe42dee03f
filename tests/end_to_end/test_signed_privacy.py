"""What a signed run says that privacy cost: computed anew from bills, which must fit the configuration and the log."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import foedus
from end_to_end.small_runs import SITES, small_run
from foedus.api.keys import new_key
from foedus.cli.main import app
from foedus.config.claims import check_claim
from foedus.config.sections import RunConfig
from foedus.core.errors import MissingExtra, SignatureError
from foedus.federation.run_folder import RunFolder
from foedus.privacy.bills import bill_file
from foedus.privacy.ledger.places import participants_folder
from foedus.privacy.signing.log import read_log
from foedus.privacy.signing.round_entries import ReadLog, check_entries
from tiny_models import LABELS

pytestmark = pytest.mark.end_to_end

RECORDS: dict[str, Any] = {
    "task": {"labels": list(LABELS)},
    "local": {"steps": 2},
    "privacy": {"kind": "records", "noise_multiplier": 1.0, "evaluation": "public"},
}
HIDDEN: dict[str, Any] = {
    "task": {"labels": list(LABELS)},
    "privacy": {"kind": "participants", "noise_multiplier": 1.0, "evaluation": "public", "delta": 0.1},
    "rounds": {"count": 2, "cohort": {"kind": "poisson", "rate": 0.5}},
}


def signed_run(folder: Path, sections: Mapping[str, Any], **more: Any) -> Path:
    for name in ("coordinator", *SITES):
        new_key(name, folder / "keys")
    keys = {"kind": "ed25519", "keys": str(folder / "keys")}
    return foedus.run(small_run(folder, **{"signatures": keys, **sections, **more})).folder


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with hidden records, of which everybody may know how many there are."""
    privacy = {"privacy": {**RECORDS["privacy"], "sizes": "public"}}
    return signed_run(tmp_path_factory.mktemp("public"), {**RECORDS, **privacy})


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("secret"), RECORDS)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed_run(tmp_path_factory.mktemp("hidden"), HIDDEN)


Claim = tuple[RunConfig, dict[str, Any], ReadLog]


def claim_of(run: Path) -> Claim:
    summary = json.loads((run / "summary.json").read_text())
    return foedus.load_config(run / "config.yaml"), summary, check_entries(*read_log(run / "log.jsonl"))


def bills_of(run: Path) -> list[Path]:
    short = f"{run.name}-{(run / '.run-id').read_text()[:8]}"
    return [bill_file(participants_folder(), site, short) for site in SITES]


def test_epsilon_of_public_bills_is_computed_anew(public: Path) -> None:
    found = foedus.verify(public, keys=public.parents[1] / "keys")
    assert found.checks[-1].startswith("epsilon computed anew from 3 bills, ")
    bills = json.loads((public / "summary.json").read_text())["privacy"]["bills"]
    assert [bill["payer"] for bill in bills] == list(SITES)
    event = {"kind": "poisson_gaussian", "noise_multiplier": 1.0, "sampling_rate": 0.25, "version": 1}
    assert all(bill["events"] == [{"event": event, "count": 4}] for bill in bills)
    signed = json.loads((public / "attestation.json").read_text())["attestation"]["guarantee"]
    assert signed["bills"] == bills


def test_bills_that_tell_how_many_records_there_are_stay_with_their_owners(secret: Path, tmp_path: Path) -> None:
    bills = json.loads((secret / "summary.json").read_text())["privacy"]["bills"]
    assert all(bill.keys() == {"payer", "sealed"} for bill in bills)
    assert "sampling_rate" not in (secret / "attestation.json").read_text() + (secret / "summary.json").read_text()
    assert foedus.verify(secret).checks[-1].startswith("NOT CHECKED: what 3 participants were charged")
    files = bills_of(secret)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    two = foedus.verify(secret, bills=files[:2]).checks[-2:]
    assert [check[:30] for check in two] == ["epsilon computed anew from 2 b", "NOT CHECKED: what 1 participan"]
    assert foedus.verify(secret, bills=files).checks[-1].startswith("epsilon computed anew from 3 bills")
    forged = tmp_path / "forged"
    forged.write_text(files[0].read_text().replace('"noise_multiplier":1.0', '"noise_multiplier":2.0'))
    with pytest.raises(SignatureError, match="is not the bill that the run sealed for north"):
        foedus.verify(secret, bills=[forged])
    with pytest.raises(SignatureError, match="is no bill of a run"):
        foedus.verify(secret, bills=[secret / "summary.json"])


def test_hidden_participants_have_one_bill_that_the_configuration_leads_to(hidden: Path) -> None:
    assert foedus.verify(hidden).checks[-1].startswith("epsilon computed anew from 1 bills")
    (bill,) = json.loads((hidden / "summary.json").read_text())["privacy"]["bills"]
    assert (bill["payer"], bill["events"][0]["count"]) == ("the federation", 2)


@pytest.mark.parametrize(
    "privacy",
    [
        {**RECORDS["privacy"], "sizes": "public"},
        {**HIDDEN["privacy"], "mechanism": "distributed"},
    ],
    ids=["records", "distributed"],
)
def test_masked_rounds_are_signed_and_their_bills_fit(tmp_path: Path, privacy: Mapping[str, Any]) -> None:
    sections = {**RECORDS, "privacy": privacy, "secure_sum": "masks", "rounds": {"count": 1}}
    run = signed_run(tmp_path, sections, strategy={"kind": "fedavg", "weighting": "uniform"})
    found = foedus.verify(run, keys=tmp_path / "keys")
    assert found.updates == 3
    assert "the participants of 3 secure sums signed their terms, and whose vectors are in them" in found.checks
    assert found.checks[-1].startswith("epsilon computed anew from 3 bills")


Change = Callable[[dict[str, Any]], None]


def set_in_first_bill(**fields: Any) -> Change:
    def change(privacy: dict[str, Any]) -> None:
        charge = privacy["bills"][0]["events"][0]
        charge["event"] |= {name: value for name, value in fields.items() if name != "count"}
        charge["count"] = fields.get("count", charge["count"])

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda privacy: privacy.update(epsilon=0.99 * privacy["epsilon"]), "but what was charged comes to"),
        (lambda privacy: privacy.update(epsilon="low"), "cannot be computed anew"),
        (lambda privacy: privacy.update(delta=1e-9), "but what was charged comes to"),
        (lambda privacy: privacy.pop("delta"), "cannot be computed anew"),
        (lambda privacy: privacy.update(unit="person"), "in unit, something else than its figures do"),
        (lambda privacy: privacy.update(statement="Nothing is lost."), "in statement, something else"),
        (lambda privacy: privacy["facts"].update(delta="1e-12"), "in facts.delta, something else"),
        (lambda privacy: privacy["bills"].append(privacy["bills"][0]), "somebody has two bills"),
        (lambda privacy: privacy["bills"][0].update(delta=1e-3), "of another delta than the configuration leads to"),
        (set_in_first_bill(noise_multiplier=2.0), "of noise 2, and configured is 1"),
        (set_in_first_bill(sampling_rate=0.2), "another number of records than summary.json tells"),
        (set_in_first_bill(sampling_rate=0.3), "of no whole number of records"),
        (set_in_first_bill(count=3), "north was charged 3 times, and the log shows work for 4"),
        (set_in_first_bill(count=-4), "cannot be read"),
        (set_in_first_bill(count=True), "cannot be read"),
        (set_in_first_bill(kind="gaussian"), "cannot be read"),
        (lambda privacy: privacy["bills"].pop(), "west counted in the model, and no bill"),
        (lambda privacy: privacy.pop("bills"), "it is no list of bills"),
        (lambda privacy: privacy["bills"][0].update(delta=0.0), "cannot be read"),
        (lambda privacy: privacy["bills"][0].update(more=1), "cannot be read"),
        (lambda privacy: privacy["bills"].__setitem__(0, {"payer": "north", "sealed": "0" * 64}), "though the number"),
    ],
)
def test_bills_that_do_not_fit_the_log_or_the_configuration_are_refused(
    public: Path, change: Change, reason: str
) -> None:
    config, summary, log = claim_of(public)
    summary["sites"] = {site: {"train": 16} for site in SITES}
    check_claim(config, summary, log)
    change(summary["privacy"])
    with pytest.raises(SignatureError, match=reason):
        check_claim(config, summary, log)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda privacy: privacy.update(epsilon=0.99 * privacy["epsilon"]), "but what was charged comes to"),
        (set_in_first_bill(noise_multiplier=2.0), "of another mechanism than the configured one"),
        (set_in_first_bill(sampling_rate=0.1), "of another mechanism than the configured one"),
        (set_in_first_bill(count=1), "the federation was charged 1 times, and the log shows work for 2"),
        (lambda privacy: privacy["bills"].clear(), "no bill says what the run cost the federation"),
        (lambda privacy: privacy.update(delta=1e-9), "but what was charged comes to"),
        (lambda privacy: privacy.update(statement="Nothing is lost."), "in statement, something else"),
        (
            lambda privacy: privacy["bills"].append({"payer": "x", "sealed": "0" * 64}),
            "where nothing in them is secret",
        ),
    ],
)
def test_a_federation_s_bill_is_of_the_configured_mechanism(hidden: Path, change: Change, reason: str) -> None:
    config, summary, log = claim_of(hidden)
    check_claim(config, summary, log)
    change(summary["privacy"])
    with pytest.raises(SignatureError, match=reason):
        check_claim(config, summary, log)


def test_reproducible_noise_makes_no_claim(public: Path) -> None:
    config, summary, log = claim_of(public)
    assert not isinstance(config.privacy, foedus.config.sections.NoPrivacy)
    reproducible = config.model_copy(update={"privacy": config.privacy.model_copy(update={"noise": "reproducible"})})
    with pytest.raises(SignatureError, match="but the noise was reproducible"):
        check_claim(reproducible, summary, log)
    summary["privacy"]["private"] = False
    assert check_claim(reproducible, summary, log) == ["no privacy is claimed: the noise was reproducible"]
    with pytest.raises(SignatureError, match="but the configuration has none"):
        check_claim(config.model_copy(update={"privacy": foedus.config.sections.NoPrivacy()}), summary, log)


def test_without_the_accountant_it_is_said_that_epsilon_was_not_checked(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(MissingExtra, match=r"foedus\[privacy\]"):
        foedus.verify(public)
    runner = CliRunner(env={"COLUMNS": "200"})
    done = runner.invoke(app, ["verify", str(public)])
    assert done.exit_code == 2
    assert "holds: the privacy figures are those that were signed" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("NOT CHECKED: counting what differential privacy costs needs")
    assert json.loads(runner.invoke(app, ["verify", str(public), "--json"]).stdout)["holds"] is None
    done = runner.invoke(app, ["verify", str(public), "--without-privacy"])
    assert done.exit_code == 0
    assert "NOT CHECKED: epsilon anew, as was asked" in done.stdout


def test_who_resumed_and_was_charged_twice_pays_for_both(public: Path) -> None:
    config, summary, log = claim_of(public)
    summary["privacy"]["bills"][0]["events"][0]["count"] = 6
    with pytest.raises(SignatureError, match="but what was charged comes to"):
        check_claim(config, summary, log)
    assert RunFolder(public).summary.exists()
    fewer = replace(log, results=log.results[:1])
    summary["privacy"]["bills"][0]["events"][0]["count"] = 4
    assert check_claim(config, summary, fewer)  # more was charged than the log shows: that is allowed
