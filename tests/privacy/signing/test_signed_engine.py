"""What the coordinator counts when the way to the participants changes, drops, or repeats what they signed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foedus.core.errors import RunFolderError, SignatureError
from foedus.federation.collect import RunningSum, collect_updates, drive
from foedus.federation.messages import (
    Broadcast,
    Clock,
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    ParticipantId,
    Reply,
    Request,
    Train,
)
from foedus.privacy.signing.digests import request_digest
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.log import Log
from foedus.privacy.signing.receipts import Kept
from foedus.privacy.signing.signed_engine import SignedEngine
from foedus.privacy.signing.signing_side import SignedReply, SigningParticipants, SigningSide
from foedus.privacy.signing.statements import Attestation, Requested, RunBegun, Signed, Updated, sign

RUN = "ab" * 16
COORDINATOR, THIEF = Identity.from_seed(b"c" * 32), Identity.from_seed(b"t" * 32)
IDENTITIES = {name: Identity.from_seed(name.encode() * 8) for name in ("aaaa", "bbbb", "cccc")}
PARAMS = {"w": torch.zeros(2)}
BEGUN = sign(
    RunBegun(
        run=RUN,
        rounds="plain",
        settings="0" * 64,
        inputs="0" * 64,
        coordinator=COORDINATOR.public.hex(),
        roster={name: identity.public.hex() for name, identity in IDENTITIES.items()},
    ),
    COORDINATOR,
    "coordinator",
)


def request(number: int = 0) -> Train:
    return Train(Broadcast({"params": PARAMS}, Clock(number, 5)))


class Echo:
    """An engine whose participants all send the same update."""

    def __init__(self) -> None:
        self.settled: list[Collection[ParticipantId]] = []

    def population(self) -> Sequence[ParticipantId]:
        return tuple(IDENTITIES)

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        for name, asked in requests.items():
            if isinstance(asked, Train):
                yield name, LocalUpdate({"delta": {"w": torch.ones(2)}}, 1.0)
            else:
                yield name, Evaluation({})

    def settle(self, counted: Collection[ParticipantId]) -> None:
        self.settled.append(list(counted))

    def save_memories(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def load_memories(self, folder: Path) -> None:
        pass


Change = Callable[[ParticipantId, Reply, Signed | None, str], Iterator[SignedReply]]


def participants() -> SigningParticipants:
    sides = {name: SigningSide(name, identity, COORDINATOR.public, BEGUN) for name, identity in IDENTITIES.items()}
    return SigningParticipants(Echo(), sides)


class Way:
    """The way to the participants, with somebody on it."""

    def __init__(self, change: Change) -> None:
        self.participants = participants()
        self.change = change

    def exchange(self, requests: Mapping[ParticipantId, Request], asked: Signed | None) -> Iterator[SignedReply]:
        for sent in self.participants.exchange(requests, asked):
            yield from self.change(sent.participant, sent.reply, sent.signed, sent.salt)

    def deliver(self, kept: Mapping[ParticipantId, Sequence[Kept]]) -> Collection[ParticipantId]:
        return self.participants.deliver(kept)

    def go_back_to(self, head: Signed, names: Collection[ParticipantId]) -> Mapping[ParticipantId, int]:
        return self.participants.go_back_to(head, names)

    def attest(self, attestation: Attestation) -> Mapping[ParticipantId, str]:
        return self.participants.attest(attestation)


def unchanged(name: ParticipantId, reply: Reply, signed: Signed | None, salt: str) -> Iterator[SignedReply]:
    yield SignedReply(name, reply, signed, salt)


def engine_with(folder: Path, change: Change = unchanged) -> SignedEngine:
    (folder / "log.jsonl").unlink(missing_ok=True)
    log = Log(folder / "log.jsonl")
    log.append(BEGUN)
    return SignedEngine(Echo(), Way(change), coordinator=COORDINATOR, log=log)


def left_out(engine: SignedEngine, number: int = 0) -> Mapping[ParticipantId, str]:
    total = RunningSum(averaged_like={"delta": PARAMS}, summed_like={})
    collected = drive(collect_updates(dict.fromkeys(IDENTITIES, request(number)), total), engine)
    assert total.reports == len(IDENTITIES) - len(collected.left_out)
    return collected.left_out


def of_b(change: Callable[[LocalUpdate, Signed], tuple[Reply, Signed | None]]) -> Change:
    """Return a change of what bbbb sends."""

    def changed(name: ParticipantId, reply: Reply, signed: Signed | None, salt: str) -> Iterator[SignedReply]:
        if name == "bbbb":
            assert isinstance(reply, LocalUpdate)
            assert signed is not None
            yield SignedReply(name, *change(reply, signed))
        else:
            yield SignedReply(name, reply, signed, salt)

    return changed


def stated(signed: Signed, **fields: object) -> Updated:
    assert isinstance(signed.statement, Updated)
    return signed.statement.model_copy(update=fields)


def test_what_is_not_changed_counts(tmp_path: Path) -> None:
    assert left_out(engine_with(tmp_path)) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda reply, signed: (replace(reply, weight=9.0), signed), "is not this reply"),
        (lambda reply, signed: (replace(reply, metrics={"loss": 0.0}), signed), "is not this reply"),
        (
            lambda reply, signed: (replace(reply, averaged={"delta": {"w": torch.full((2,), 5.0)}}), signed),
            "is not this reply",
        ),
        (lambda reply, signed: (reply, None), "nothing of it is signed"),
        (lambda reply, signed: (reply, sign(signed.statement, THIEF, "bbbb")), "does not fit"),
        (lambda reply, signed: (reply, sign(signed.statement, IDENTITIES["cccc"], "cccc")), "is not this reply"),
        (
            lambda reply, signed: (reply, sign(stated(signed, participant="cccc"), IDENTITIES["bbbb"], "bbbb")),
            "is not this reply",
        ),
        (
            lambda reply, signed: (reply, sign(stated(signed, round=2), IDENTITIES["bbbb"], "bbbb")),
            "answers another request",
        ),
        (
            lambda reply, signed: (reply, sign(stated(signed, run="cd" * 16), IDENTITIES["bbbb"], "bbbb")),
            "answers another request",
        ),
        (lambda reply, signed: (reply, signed.model_copy(update={"signature": "00" * 64})), "does not fit"),
    ],
)
def test_a_bad_signature_is_left_out_with_its_reason_and_the_others_count(
    tmp_path: Path, change: Callable[[LocalUpdate, Signed], tuple[Reply, Signed | None]], reason: str
) -> None:
    engine = engine_with(tmp_path, of_b(change))
    found = left_out(engine)
    assert list(found) == ["bbbb"]
    assert found["bbbb"].startswith("sent a reply that does not count: ")
    assert reason in found["bbbb"]


def test_an_update_of_an_earlier_round_does_not_count_again(tmp_path: Path) -> None:
    kept: list[tuple[Reply, Signed | None]] = []

    def replay(reply: LocalUpdate, signed: Signed) -> tuple[Reply, Signed | None]:
        kept.append((reply, signed))
        return kept[0]

    engine = engine_with(tmp_path, of_b(replay))
    assert left_out(engine, 0) == {}
    assert "answers another request" in left_out(engine, 1)["bbbb"]


def test_of_a_reply_that_comes_twice_the_first_one_is_counted_and_logged(tmp_path: Path) -> None:
    def twice(name: ParticipantId, reply: Reply, signed: Signed | None, salt: str) -> Iterator[SignedReply]:
        yield SignedReply(name, reply, signed, salt)
        yield SignedReply(name, reply, signed, salt)

    engine = engine_with(tmp_path, twice)
    assert left_out(engine) == {}


def test_a_stranger_s_update_does_not_count(tmp_path: Path) -> None:
    def stranger(name: ParticipantId, reply: Reply, signed: Signed | None, salt: str) -> Iterator[SignedReply]:
        yield SignedReply("dddd", reply, signed, salt)

    assert set(left_out(engine_with(tmp_path, stranger))) == set(IDENTITIES)


def test_participants_do_nothing_for_who_is_not_the_coordinator() -> None:
    right = request_digest(request()).hex()
    for asked in (
        None,
        sign(Requested(run=RUN, round=1, purpose="update", requests=["0" * 64]), COORDINATOR, "coordinator"),
        sign(Requested(run=RUN, round=2, purpose="update", requests=[right]), COORDINATOR, "coordinator"),
        sign(Requested(run=RUN, round=1, purpose="evaluation", requests=[right]), COORDINATOR, "coordinator"),
        sign(Requested(run="cd" * 16, round=1, purpose="update", requests=[right]), COORDINATOR, "coordinator"),
        sign(Requested(run=RUN, round=1, purpose="update", requests=[right]), THIEF, "coordinator"),
        BEGUN,
    ):
        (sent,) = participants().exchange({"aaaa": request()}, asked)
        assert sent.signed is None
        assert isinstance(sent.reply, Failure)
        assert sent.reply.reason.startswith("did not do what it was asked")


def test_evaluations_are_signed_and_what_is_changed_on_the_way_does_not_count(tmp_path: Path) -> None:
    asked = dict.fromkeys(IDENTITIES, Evaluate(PARAMS, "test"))
    figures = {"loss": torch.ones(1, dtype=torch.float64)}
    engine = engine_with(tmp_path)
    assert dict(engine.exchange(asked)) == dict.fromkeys(IDENTITIES, Evaluation({}))

    def changed(name: ParticipantId, reply: Reply, signed: Signed | None, salt: str) -> Iterator[SignedReply]:
        yield {
            "aaaa": SignedReply(name, Evaluation(figures), signed, salt),
            "bbbb": SignedReply(name, reply, signed, "0" * 64),
            "cccc": SignedReply(name, reply, None, salt),
        }[name]

    reasons = [
        r.reason for r in dict(engine_with(tmp_path, changed).exchange(asked)).values() if isinstance(r, Failure)
    ]
    assert [reason.partition(": ")[2][:30] for reason in reasons] == [
        "what it signed is not this rep",
        "what it signed is not this rep",
        "nothing of it is signed, or it",
    ]


def test_figures_that_stay_at_home_are_not_signed_and_nobody_is_asked_for_two_things(tmp_path: Path) -> None:
    engine = engine_with(tmp_path)
    assert dict(engine.exchange({"aaaa": Evaluate(PARAMS, "test", tell=False)})) == {"aaaa": Evaluation({})}
    with pytest.raises(SignatureError, match="asks everybody for the same, or nobody"):
        list(engine.exchange({"aaaa": request(), "bbbb": Evaluate(PARAMS, "test")}))


def test_who_is_sent_less_signs_the_request_that_it_got(tmp_path: Path) -> None:
    brief = Train(Broadcast({"change": PARAMS}, Clock(0, 5)))
    engine = engine_with(tmp_path)
    total = RunningSum(averaged_like={"delta": PARAMS}, summed_like={})
    collected = drive(collect_updates({"aaaa": request(), "bbbb": brief, "cccc": brief}, total), engine)
    assert collected.left_out == {}

    def of_the_other_request(reply: LocalUpdate, signed: Signed) -> tuple[Reply, Signed | None]:
        full = request_digest(request()).hex()
        return reply, sign(stated(signed, request=full), IDENTITIES["bbbb"], "bbbb")

    engine = engine_with(tmp_path, of_b(of_the_other_request))
    total = RunningSum(averaged_like={"delta": PARAMS}, summed_like={})
    collected = drive(collect_updates({"aaaa": request(), "bbbb": brief}, total), engine)
    assert "answers another request" in collected.left_out["bbbb"]


def test_a_checkpoint_without_the_log_s_length_is_damaged(tmp_path: Path) -> None:
    engine = engine_with(tmp_path)
    engine.save_memories(tmp_path / "participants")
    engine.load_memories(tmp_path / "participants")
    (tmp_path / "participants" / "log.json").write_text("{}")
    with pytest.raises(RunFolderError, match="missing or damaged"):
        engine.load_memories(tmp_path / "participants")
