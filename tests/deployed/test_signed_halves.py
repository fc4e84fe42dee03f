"""Signed runs between organisations, each with its own key, all but the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import foedus
from deployed.loopback import courier, organisations
from deployed.test_halves import SGD, data_of, weights
from end_to_end.small_runs import SITES, small_run
from foedus.api.coordinate import Federated, coordinate, enqueue
from foedus.api.run_queue import is_complete
from foedus.config.loading import load_config
from foedus.config.participant import ParticipantRun
from foedus.core.errors import SignatureError
from foedus.engines.codec.messages import Answer, Question
from foedus.engines.link.courier import Patience
from foedus.federation.events import Event, RoundEnded, RoundStarted
from foedus.federation.membership import Told
from foedus.federation.messages import Failure, LocalUpdate, Train
from foedus.federation.run_folder import RunFolder
from foedus.privacy.signing.attestation import load_attestation
from foedus.privacy.signing.envelopes import Attest, OpenLog, SignedRequest
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.log import read_log
from foedus.privacy.signing.pins import save_pins
from foedus.privacy.signing.receipts import read_receipts
from foedus.privacy.signing.statements import COORDINATOR, RunBegun, sign

SIGNED: dict[str, Any] = {**SGD, "signatures": "ed25519"}


class Killed(Exception):  # noqa: N818 - it says what happened
    pass


class Played:
    """A signed run of three organisations whose carrier can be cut."""

    def __init__(self, folder: Path, config: dict[str, Any], **allow: Any) -> None:
        self.key = Identity.create()
        models = [str(config["model"]["path"])]
        self.made, self.pins = organisations(folder, data_of(folder), coordinator=self.key, models=models, **allow)
        self.way, self.carrier = courier(self.made, Patience(lost=0.5, still=60, least=60))
        self.folder = RunFolder(folder / "deployed")
        self.home = folder
        self.told: list[tuple[str, str]] = []
        enqueue(load_config(config), self.folder)

    def play(self, observe: Callable[[Event], None] = lambda event: None, patience_s: float = 20.0) -> Any:
        federated = Federated(
            self.way,
            list(SITES),
            self.pins,
            lambda name, what: self.told.append((name, what)),
            identity=lambda: self.key,
            patience_s=patience_s,
        )
        return coordinate(self.folder, federated, observe=observe)

    def receipts(self) -> list[Path]:
        return sorted(self.home.glob("homes/*/receipts/*/*.receipts.jsonl"))

    def verified(self) -> Any:
        save_pins(self.home / "pins.json", self.pins)
        return foedus.verify(self.folder.path, keys=self.home, receipts=self.receipts())


@pytest.mark.parametrize("secure_sum", ["none", "masks", "ckks"])
def test_a_signed_run_between_organisations_can_be_verified(tmp_path: Path, secure_sum: str) -> None:
    quiet = {"evaluation": {"per_site": False}} if secure_sum != "none" else {}
    config = {**small_run(tmp_path, **SIGNED, secure_sum=secure_sum), **quiet}
    played = Played(tmp_path, config, shared_key=True)
    result = played.play()
    assert [len(read_receipts(path)) for path in played.receipts()] == [5, 5, 5]  # of 2 rounds and 3 evaluations
    found = played.verified()
    assert (found.rounds, found.participants) == (2, 3)
    plain = weights(foedus.run({**config, "signatures": "none", "secure_sum": "none"}))
    for name, value in weights(result).items():
        assert value.allclose(plain[name], atol=1e-4), name
    log = (played.folder.path / "log.jsonl").read_bytes()
    (played.folder.path / "log.jsonl").write_bytes(log[: log[:-1].rindex(b"\n") + 1])
    with pytest.raises(SignatureError, match="log"):
        played.verified()


def test_a_killed_coordinator_goes_on_with_the_signed_log(tmp_path: Path) -> None:
    """Everybody is killed with it."""
    played = Played(tmp_path, small_run(tmp_path, **SIGNED, rounds={"count": 3}))

    def kill(event: Event) -> None:
        if isinstance(event, RoundStarted) and event.round == 3:
            raise Killed

    with pytest.raises(Killed):
        played.play(kill)
    for organisation in played.made.values():
        organisation.restart()
    played.play()
    assert played.verified().rounds == 3


@pytest.mark.parametrize("before", ["config.signed_run.attest", "reporting.report.write_report"])
def test_a_coordinator_that_is_killed_at_the_end_ends_the_run_when_it_is_started_again(
    tmp_path: Path, before: str
) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SIGNED))

    def die(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"foedus.{before}", die)
        with pytest.raises(Killed):
            played.play()
    assert (played.folder.summary).is_file()
    assert not is_complete(played.folder.path)
    played.play()
    assert is_complete(played.folder.path)
    assert played.verified().rounds == 2


def test_who_was_away_gets_its_receipts_when_it_is_back(tmp_path: Path) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SIGNED, rounds={"count": 4}))

    def cut_in_round_two(event: Event) -> None:
        if isinstance(event, RoundEnded):
            played.carrier.cut = {"south"} if event.record["round"] == 1 else set()
            if event.record["round"] == 2:
                played.made["south"].restart()

    played.play(cut_in_round_two)
    assert ("south", "is back") in played.told
    log = read_log(played.folder.path / "log.jsonl")[0]
    for name, path in zip(SITES, played.receipts(), strict=True):
        assert len(read_receipts(path)) == sum(entry.signer == name for entry in log)
    assert played.verified().rounds == 4


def test_a_run_ends_unsigned_while_somebody_is_away_and_is_signed_when_it_is_back(tmp_path: Path) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SIGNED))

    def cut_at_the_end(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 2:
            played.carrier.cut = {"west"}

    with pytest.raises(SignatureError, match="west did not sign"):
        played.play(cut_at_the_end, patience_s=0.0)
    with pytest.raises(SignatureError, match="it was not signed"):
        played.verified()
    played.carrier.cut = set()
    played.play()
    assert played.verified().rounds == 2


class Meddler:
    """Sits between the coordinator and an organisation, and changes what passes."""

    def __init__(self, run: ParticipantRun, change: Callable[[Question], Question]) -> None:
        self._run = run
        self._change = change
        self.answers: list[Answer] = []

    def answer(self, question: Question) -> Answer:
        found = self._run.answer(self._change(question))
        self.answers.append(found)
        return found


def stripped(question: Question) -> Question:
    return question.request if isinstance(question, SignedRequest) else question


def unsigned(question: Question) -> Question:
    return SignedRequest(question.request, None) if isinstance(question, SignedRequest) else question


def another_round(question: Question) -> Question:
    if isinstance(question, SignedRequest) and isinstance(question.request, Train):
        clock = replace(question.request.broadcast.clock, round=1 - question.request.broadcast.clock.round)
        return SignedRequest(Train(replace(question.request.broadcast, clock=clock)), question.asked)
    return question


def other_values(question: Question) -> Question:
    if isinstance(question, SignedRequest) and isinstance(question.request, Train):
        sent = question.request.broadcast
        trees = {tree: {name: value + 1 for name, value in values.items()} for tree, values in sent.trees.items()}
        return SignedRequest(Train(replace(sent, trees=trees)), question.asked)
    return question


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (stripped, "did not sign what it asks"),
        (unsigned, "did not sign what it asks"),
        (another_round, "of another round"),
        (other_values, "not what it asked"),
    ],
)
def test_nothing_is_done_that_the_coordinator_did_not_sign(
    tmp_path: Path, change: Callable[[Question], Question], reason: str
) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SIGNED, rounds={"count": 2, "min_reports": 1}))
    meddlers: list[Meddler] = []

    def begun(event: Event) -> None:
        if isinstance(event, RoundStarted) and not meddlers:
            runs = played.made["north"].runs
            for run, playing in runs.items():
                meddlers.append(Meddler(playing, change))
                runs[run] = cast("ParticipantRun", meddlers[-1])

    records = [record for record in played.play(begun).rounds if record["round"] > 0]
    reasons = [answer.reason for answer in meddlers[0].answers if isinstance(answer, Failure)]
    assert len(reasons) >= 2
    assert all(reason in each for each in reasons)
    assert all("north" in record["left_out"] for record in records)
    assert not any(isinstance(answer, LocalUpdate) for answer in meddlers[0].answers)
    assert played.verified().updates == 4


def test_a_participant_refuses_a_log_that_is_not_of_the_agreed_run(tmp_path: Path) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SIGNED))
    played.play()
    [asked] = {id(run): run for run in played.made["north"].runs.values()}.values()
    stated = read_log(played.folder.path / "log.jsonl")[0][0].statement
    wrong: list[dict[str, Any]] = [{"settings": "0" * 64}, {"run": "0" * 32}, {"rounds": "sealed"}, {"roster": {}}]
    for changes in wrong:
        begun = RunBegun.model_validate({**stated.model_dump(), **changes})
        assert isinstance(asked.answer(OpenLog(sign(begun, played.key, COORDINATOR))), Failure)
    assert isinstance(asked.answer(OpenLog(sign(stated, Identity.create(), COORDINATOR))), Failure)
    assert asked.answer(OpenLog(sign(stated, played.key, COORDINATOR))) == Told()


@pytest.mark.parametrize("claim", ["guarantee", "ledger"])
def test_a_participant_signs_no_privacy_of_a_run_that_has_none(tmp_path: Path, claim: str) -> None:
    played = Played(tmp_path, small_run(tmp_path, **SIGNED, rounds={"count": 1}))
    played.play()
    [asked] = played.made["north"].runs.values()
    attestation = load_attestation(played.folder.path).attestation
    assert isinstance(asked.answer(Attest(attestation)), Told)
    answer = asked.answer(Attest(attestation.model_copy(update={claim: {"epsilon": 1.0}})))
    assert answer == Failure("north does not sign: the run has no privacy, and the attestation claims some")
