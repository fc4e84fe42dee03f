"""What a private run between organisations cost is signed by everybody, and computed anew by whoever has its folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployed.private import DISTRIBUTED, RECORDS, budgeted, private_config
from deployed.signed_private import SignedPrivateRun
from end_to_end.small_runs import SITES
from foedus.config.told_privacy import told_guarantee
from foedus.core.errors import SignatureError
from foedus.federation.events import Event, RoundEnded
from foedus.federation.membership import Told
from foedus.federation.messages import Failure
from foedus.privacy.ledger.places import participant_ledger
from foedus.privacy.signing.attestation import load_attestation
from foedus.privacy.signing.envelopes import Attest
from foedus.privacy.signing.receipts import read_receipts
from foedus.privacy.signing.statements import Attestation

MASKS: dict[str, Any] = {"kind": "masks", "min_cohort": 3}
PUBLIC: dict[str, Any] = {**RECORDS, "epsilon": None, "noise_multiplier": 1.0, "sizes": "public"}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> SignedPrivateRun:
    """A run with hidden records, of which everybody may know how many there are."""
    folder = tmp_path_factory.mktemp("public")
    config = private_config(folder, privacy=PUBLIC, secure_sum=MASKS)
    run = SignedPrivateRun(folder, config, budgeted(folder, epsilon=50))
    run.play()
    return run


def test_epsilon_is_computed_anew_from_the_bills_that_everybody_signed(public: SignedPrivateRun) -> None:
    found = public.verified()
    assert found.checks[-1].startswith("epsilon computed anew from 3 bills, ")
    assert (found.rounds, found.participants, found.updates) == (2, 3, 6)
    assert [each["events"][0]["count"] for each in found.guarantee["bills"]] == [8, 8, 8]
    assert [public.uses(name) for name in SITES] == [8, 8, 8]
    assert not public.kept("bill.json")  # nothing is sealed
    assert [len(read_receipts(path)) for path in public.kept("receipts.jsonl")] == [2, 2, 2]
    assert not list(public.home.rglob("outbox/*/*"))
    report = (public.folder.path / "report.html").read_text()
    assert "Each organisation signed at home" in report
    assert "All keys lay on one machine" not in report


@pytest.mark.parametrize("secure_sum", [MASKS, {"kind": "ckks", "min_cohort": 3}], ids=lambda section: section["kind"])
def test_where_sizes_are_private_what_cannot_be_computed_anew_is_said_and_each_can_open_its_own_bill(
    tmp_path: Path, secure_sum: Mapping[str, Any]
) -> None:
    config = private_config(tmp_path, privacy=RECORDS, secure_sum=secure_sum)
    run = SignedPrivateRun(tmp_path, config, budgeted(tmp_path), shared_key=True)
    said = run.play().summary["privacy"]
    assert (said["epsilon"], said["delta"]) == (8.0, 0.02)
    assert all(bill.keys() == {"payer", "sealed"} for bill in said["bills"])
    assert list(run.verified().checks[-2:]) == [
        "epsilon 8.00 and delta 0.02 are no less than what the configuration plans for any number of records",
        "NOT CHECKED: what 3 participants were charged, since the number of their records is secret; each can show its "
        "own (--bill)",
    ]
    one = run.verified(bills=run.kept("bill.json", "north")).checks
    assert one[-3].startswith("epsilon computed anew from 1 bills, ")
    assert one[-1].startswith("NOT CHECKED: what 2 participants")
    assert run.verified(bills=run.kept("bill.json")).checks[-1].startswith("epsilon computed anew from 3 bills")


def test_noise_of_participants_is_billed_by_the_rounds_in_which_each_took_part(tmp_path: Path) -> None:
    """South is away in the second round, which does not stand: it is in the round's cohort, and was not charged."""
    own = budgeted(tmp_path, epsilon=50, delta=0.1, unit="participant")
    rounds = {"count": 3, "min_reports": 1}
    run = SignedPrivateRun(
        tmp_path, private_config(tmp_path, privacy=DISTRIBUTED, secure_sum=MASKS, rounds=rounds), own
    )

    def away(event: Event) -> None:
        if isinstance(event, RoundEnded):
            run.carrier.cut = {"south"} if event.record["round"] == 1 else set()

    result = run.play(away)
    assert [record["stood"] for record in result.rounds if record["round"]] == [True, False, True]
    counts = {bill["payer"]: bill["events"][0]["count"] for bill in result.summary["privacy"]["bills"]}
    assert counts == {name: run.uses(name) for name in SITES}
    assert counts["south"] == 2
    found = run.verified()
    assert found.checks[-1].startswith("epsilon computed anew from 3 bills")
    assert found.guarantee["unit"] == "participant"


Change = Callable[[dict[str, Any]], None]


def of_guarantee(change: Change) -> Change:
    return lambda values: change(values["guarantee"])


def of_bill(name: str, change: Change) -> Change:
    def found(guarantee: dict[str, Any]) -> None:
        [bill] = [bill for bill in guarantee["bills"] if bill["payer"] == name]
        change(bill)

    return of_guarantee(found)


def charged(count: int) -> Change:
    return lambda bill: bill["events"][0].update(count=count)


def without(name: str) -> Change:
    return of_guarantee(lambda claimed: claimed.update(bills=[b for b in claimed["bills"] if b["payer"] != name]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (of_guarantee(lambda claimed: claimed.update(epsilon=1.0)), "epsilon 1.0 is claimed, and it told"),
        (of_guarantee(lambda claimed: claimed.update(epsilon="8")), "epsilon 8 is claimed, and it told"),
        (of_guarantee(lambda claimed: claimed.update(delta=1e-9)), "but what was charged comes to"),
        (of_guarantee(lambda claimed: claimed.update(delta=0)), "cannot be computed anew"),
        (of_guarantee(lambda claimed: claimed.update(statement="No risk.")), "in statement, something else than"),
        (
            of_guarantee(lambda claimed: claimed["facts"].update(epsilon="0.10")),
            "in facts.epsilon, something else than",
        ),
        (of_guarantee(lambda claimed: claimed.update(private=False)), "in private, something else than"),
        (of_guarantee(lambda claimed: claimed.pop("bills")), "is not the one that it told"),
        (of_bill("north", charged(4)), "under its name is not the one that it told"),
        (of_bill("north", charged(80)), "under its name is not the one that it told"),
        (without("north"), "under its name is not the one that it told"),
        (of_guarantee(lambda claimed: claimed["bills"].append(claimed["bills"][0])), "is not the one that it told"),
        (of_guarantee(lambda claimed: claimed["bills"].append(claimed["bills"][1])), "somebody has two bills"),
        (of_bill("south", charged(80)), "but what was charged comes to"),
        (of_bill("south", charged(4)), "south was charged 4 times, and the log shows work for 8"),
        (without("south"), "south counted in the model, and no bill says what that cost"),
        (lambda values: values.update(guarantee=None), "says nothing of the privacy that the run spent"),
        (lambda values: values["ledger"].pop("planned"), "the last round's record claims that"),
        (lambda values: values.update(ledger="little"), "the last round's record claims that None was spent"),
        (lambda values: values.update(settings="0" * 64), "of other settings or data than the log"),
        (lambda values: values.update(inputs="0" * 64), "of other settings or data than the log"),
    ],
)
def test_a_participant_signs_no_claim_that_its_own_ledger_or_the_bills_contradict(
    public: SignedPrivateRun, change: Change, reason: str
) -> None:
    signed = load_attestation(public.folder.path)
    asked = public.playing("north")
    assert asked.answer(Attest(signed.attestation)) == Told({"signature": signed.signatures["north"]})
    values = json.loads(signed.attestation.model_dump_json())
    change(values)
    answer = asked.answer(Attest(Attestation.model_validate(values)))
    assert isinstance(answer, Failure)
    assert answer.reason.startswith("north does not sign: ")
    assert reason in answer.reason


def test_a_participant_whose_ledger_was_charged_since_it_told_signs_nothing(public: SignedPrivateRun) -> None:
    asked, attest = public.playing("west"), Attest(load_attestation(public.folder.path).attestation)
    assert isinstance(asked.answer(attest), Told)
    place = participant_ledger(Path(str(public.made["west"].home.file.ledgers)), "west")
    with sqlite3.connect(place) as ledger:
        ledger.execute("UPDATE spends SET uses = uses + 4 WHERE number = 1")
    answer = asked.answer(attest)
    with sqlite3.connect(place) as ledger:
        ledger.execute("UPDATE spends SET uses = uses - 4 WHERE number = 1")
    assert isinstance(answer, Failure)
    assert "its ledger was charged something else for the run since it told" in answer.reason
    assert isinstance(asked.answer(attest), Told)


def test_a_coordinator_that_claims_less_than_sealed_bills_come_to_gets_no_signature(tmp_path: Path) -> None:
    run = SignedPrivateRun(tmp_path, private_config(tmp_path, privacy=RECORDS), budgeted(tmp_path))

    def claim_less(guard: Any, spending: Any, rounds: int) -> Mapping[str, Any]:
        return told_guarantee(guard, replace(spending, epsilon=1.0), rounds)  # in words, too

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foedus.api.conclude.told_guarantee", claim_less)
        with pytest.raises(SignatureError, match="north, south, west did not sign"):
            run.play(patience_s=0.0)
    reasons = {what for _, what in run.told if "did not take it" in what}
    assert reasons == {
        f"did not take it: {name} does not sign: epsilon 1.0 is claimed, and it told 8" for name in SITES
    }
    with pytest.raises(SignatureError, match="it was not signed"):
        run.verified()
    run.play()  # by an honest coordinator
    assert run.verified().rounds == 2
