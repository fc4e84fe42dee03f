"""The end of a private, signed run between organisations: bills first, then signatures, whatever is cut or asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployed.private import RECORDS, budgeted, private_config
from deployed.signed_private import Meddler, SignedPrivateRun
from end_to_end.small_runs import SITES
from foedus.api.run_queue import is_complete
from foedus.config.signed_run import SignedRun
from foedus.core.errors import SignatureError
from foedus.engines.codec.messages import Answer, Question
from foedus.federation.events import Event, RoundEnded, RoundStarted
from foedus.federation.membership import Finish, TellCost, Told
from foedus.federation.messages import Failure, Train
from foedus.privacy.signing.envelopes import Attest, SignedRequest
from foedus.privacy.signing.statements import Attestation

MASKS: dict[str, Any] = {"kind": "masks", "min_cohort": 3}


class Killed(Exception):  # noqa: N818 - it says what happened
    pass


def run_of(folder: Path, **sections: Any) -> SignedPrivateRun:
    config = private_config(folder, **{"privacy": RECORDS, **sections})
    return SignedPrivateRun(folder, config, budgeted(folder, epsilon=20))


def killed_before_anybody_signs(run: SignedPrivateRun) -> None:
    """Play until everybody has told its bill and the summary is written."""

    def die(*_: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SignedRun, "finish", die)
        with pytest.raises(Killed):
            run.play()


def bills_of(run: SignedPrivateRun) -> Any:
    return json.loads(run.folder.summary.read_text())["privacy"]["bills"]


@pytest.mark.parametrize("also", ["the coordinator alone", "everybody"])
def test_a_coordinator_killed_between_bills_and_signatures_is_told_the_same_bills_again(
    tmp_path: Path, also: str
) -> None:
    run = run_of(tmp_path, secure_sum=MASKS)
    killed_before_anybody_signs(run)
    told = bills_of(run)
    if also == "everybody":
        for organisation in run.made.values():
            organisation.restart()
    run.play()
    assert bills_of(run) == told
    assert run.verified(bills=run.kept("bill.json")).checks[-1].startswith("epsilon computed anew from 3 bills")
    assert [run.uses(name) for name in SITES] == [8, 8, 8]


def test_a_run_ends_unsigned_while_somebody_that_owes_a_bill_is_away_and_is_signed_when_it_is_back(
    tmp_path: Path,
) -> None:
    run = run_of(tmp_path)

    def cut_at_the_end(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 2:
            run.carrier.cut = {"west"}

    with pytest.raises(SignatureError, match="west did not tell what the run cost it"):
        run.play(cut_at_the_end, patience_s=0.0)
    assert [bill["payer"] for bill in bills_of(run)] == ["north", "south"]
    with pytest.raises(SignatureError, match="it was not signed"):
        run.verified()
    run.carrier.cut = set()
    run.made["west"].restart()
    run.play()
    assert [bill["payer"] for bill in bills_of(run)] == list(SITES)
    assert run.verified(bills=run.kept("bill.json")).rounds == 2


def test_who_tells_another_bill_than_before_is_named_and_nothing_is_signed(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    killed_before_anybody_signs(run)
    told = bills_of(run)
    [lost] = (tmp_path / "homes" / "north").rglob("cost.json")
    lost.unlink()
    with pytest.raises(SignatureError, match="north told another bill than before"):
        run.play(patience_s=0.0)
    assert ("north", "refused: it told another bill than before") in run.told
    assert bills_of(run) == told
    assert not (run.folder.path / "attestation.json").exists()


def test_a_participant_that_tells_less_than_the_log_shows_is_named_and_nothing_is_signed(tmp_path: Path) -> None:
    privacy = {**RECORDS, "epsilon": None, "noise_multiplier": 1.0, "sizes": "public"}
    run = run_of(tmp_path, privacy=privacy)

    def less(question: Question, answer: Answer) -> Answer:
        if isinstance(question, TellCost) and isinstance(answer, Told):
            bill = json.loads(json.dumps(answer.facts["bill"]))
            bill["events"][0]["count"] = 1
            return Told({"bill": bill, "epsilon": 0.5})
        return answer

    def begun(event: Event) -> None:
        if isinstance(event, RoundStarted) and event.round == 1:
            run.meddle("south", Meddler(tell=less))

    with pytest.raises(SignatureError, match="south was charged 1 times, and the log shows work for 8"):
        run.play(begun)
    assert not (run.folder.path / "attestation.json").exists()


def attestation_of(run: SignedPrivateRun) -> Attestation:
    """Return something to be signed, in the midst of a run."""
    [begun, *_] = [json.loads(line) for line in (run.folder.path / "log.jsonl").read_text().splitlines()]
    stated = {name: begun["statement"][name] for name in ("run", "settings", "inputs")}
    digests = dict.fromkeys(("params", "model", "figures", "root"), "0" * 64)
    claimed = {"guarantee": {"epsilon": 8.0, "delta": 0.02, "bills": []}, "ledger": None}
    return Attestation.model_validate({**stated, **digests, **claimed, "rounds": 1, "counted": [], "size": 1000})


def test_what_a_coordinator_asks_in_another_order_is_refused_by_name_and_costs_nothing(tmp_path: Path) -> None:
    run, north = run_of(tmp_path), Meddler()

    def listen_then_die(event: Event) -> None:
        if isinstance(event, RoundStarted) and event.round == 1:
            run.meddle("north", north)
        if isinstance(event, RoundEnded) and event.record["round"] == 1:
            raise Killed

    with pytest.raises(Killed):
        run.play(listen_then_die)
    asked = north.run
    assert asked is not None
    first = asked.answer(Attest(attestation_of(run)))
    assert first == Failure(
        "north does not sign: it was asked to sign what the run came to before it told what that cost it"
    )
    cost = asked.answer(TellCost())  # after one round of two
    assert isinstance(cost, Told)
    assert cost.facts["epsilon"] == 8.0
    assert cost.facts["bill"].keys() == {"payer", "sealed"}
    [train] = [each for each in north.asked if isinstance(each, SignedRequest) and isinstance(each.request, Train)]
    refused = asked.answer(train)
    assert isinstance(refused, Failure)
    assert "it was asked for work after it told what this run cost it" in refused.reason
    assert asked.answer(TellCost()) == cost
    assert [asked.answer(Finish()) for _ in range(2)] == [Told(), Told()]
    assert asked.answer(TellCost()) == cost
    assert run.uses("north") == 4
    for organisation in run.made.values():
        organisation.restart()
    last = run.play().rounds[-1]  # by an honest coordinator, for which it has told too early
    assert list(last["left_out"]) == ["north"]
    assert "after it told what this run cost it" in last["left_out"]["north"]
    assert run.uses("north") == 4
    assert run.verified(bills=run.kept("bill.json")).updates == 5


def test_a_run_that_budgets_ended_early_plays_no_more_rounds_once_bills_were_told(tmp_path: Path) -> None:
    privacy = {**RECORDS, "epsilon": None, "noise_multiplier": 1.0, "sizes": "public"}
    sections: dict[str, Any] = {"privacy": privacy, "secure_sum": MASKS}
    one = private_config(tmp_path / "one", **sections, rounds={"count": 1})
    spent = SignedPrivateRun(tmp_path / "one", one, budgeted(tmp_path / "one", epsilon=50)).play()
    own = budgeted(tmp_path, epsilon=50)
    own["north"] |= budgeted(tmp_path, epsilon=spent.rounds[-1]["privacy"]["epsilon"] + 0.01)["north"]
    config = private_config(tmp_path, **sections, rounds={"count": 4, "min_reports": 1})
    run = SignedPrivateRun(tmp_path, config, own)
    killed_before_anybody_signs(run)
    uses = [run.uses(name) for name in SITES]
    for organisation in run.made.values():
        organisation.restart()
    result = run.play()
    assert [record["stood"] for record in result.rounds[1:]] == [True, False]
    assert "north said that their own privacy budgets allow no more" in result.summary["stopped"]
    assert [run.uses(name) for name in SITES] == uses
    assert run.verified().rounds == 2


def test_a_run_that_all_have_signed_needs_nobody_to_be_finished_after_a_crash(tmp_path: Path) -> None:
    run = run_of(tmp_path)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foedus.api.playing.report_results", die)
        with pytest.raises(Killed):
            run.play()
    signed = (run.folder.path / "attestation.json").read_bytes()
    assert not is_complete(run.folder.path)
    run.carrier.cut = {"south", "west"}
    run.play(patience_s=0.0)
    assert (run.folder.path / "attestation.json").read_bytes() == signed
    assert is_complete(run.folder.path)
    assert run.verified(bills=run.kept("bill.json")).rounds == 2
