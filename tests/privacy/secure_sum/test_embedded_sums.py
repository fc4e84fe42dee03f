"""Whole rounds over the embedded engine: under masks they end where plain rounds end, to the grid's error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from contracts.strategy_cases import STRATEGIES
from foedus.core.entropy import Entropy
from foedus.core.errors import RunFolderError, SecureSumError
from foedus.engines.answer_journal import AnswerJournal
from foedus.engines.in_process import InProcessEngine
from foedus.federation.collect import drive
from foedus.federation.messages import (
    Clock,
    DryRound,
    Evaluate,
    Failure,
    ParticipantId,
    Reply,
    Request,
    SecureSumAnswer,
    SecureSumStep,
    Train,
)
from foedus.federation.protocols import Algorithm, ServerState
from foedus.federation.round import Federation, RoundReport, play_round
from foedus.privacy.secure_sum.contents import Scale
from foedus.privacy.secure_sum.embedding import SecureSide, SecureSums
from foedus.privacy.secure_sum.kinds import Masks, SumKind
from foedus.privacy.secure_sum.participant import Member
from foedus.privacy.secure_sum.terms import Rules
from foedus.strategies.fedavg import fedavg
from privacy.secure_sum.federations import Notebook, members_of
from strategies.quadratics import QuadraticTask, federation, statistics

ROUNDS = 3
COUNT = 5
TASKS = {
    name: QuadraticTask(1.0 + place, place / 4, [0.05] * 3, weight=float(1 + 7 * place))
    for place, name in enumerate(members_of(COUNT))
}
PARTS = [name for name in STRATEGIES if "streaming" not in name]


class Vanishing(InProcessEngine):
    """Some participants stop answering after so many exchanges of a round's sum."""

    vanish: Mapping[str, int] = {}
    exchanges = 0
    seen: list[Reply]
    sides: Mapping[str, SecureSide]

    def exchange(self, requests: Mapping[ParticipantId, Request]) -> Iterator[tuple[ParticipantId, Reply]]:
        if any(isinstance(request, SecureSumStep) and request.of is not None for request in requests.values()):
            self.exchanges = 0
        for name, reply in super().exchange(
            {n: r for n, r in requests.items() if self.exchanges < self.vanish.get(n, 1 << 10)}
        ):
            self.seen.append(reply)
            yield name, reply
        self.exchanges += 1


def secure(
    algorithm: Algorithm,
    vanish: Mapping[str, int] | None = None,
    rules: Rules | None = None,
    tasks: Mapping[str, QuadraticTask] = TASKS,
    *,
    kind: SumKind | None = None,
    value_range: float = 64.0,
) -> Federation:
    """Return a federation whose sums are made under masks unless told."""
    kind = kind or Masks()
    plain = federation(algorithm, TASKS, rounds=ROUNDS)
    members = members_of(COUNT)
    pinned = next(iter(members.values())).identities
    like = statistics(loss=0.0, units=0.0)
    scale = Scale(value_range, 32.0, COUNT, kind.value_bits)
    sums = SecureSums("task", "run", rules or Rules(), scale, pinned, algorithm, like, kind)
    sides = {
        name: SecureSide(Member(name, member.identity, pinned, Notebook()), sums) for name, member in members.items()
    }
    engine = Vanishing(algorithm.local, tasks, secure=sides)
    engine.vanish, engine.seen, engine.sides = vanish or {}, [], sides
    return replace(plain, engine=engine, collect=sums.collect_updates, collect_evaluation=sums.collect_evaluations)


def any_side() -> SecureSide:
    engine = secure(fedavg()).engine
    assert isinstance(engine, Vanishing)
    return next(iter(engine.sides.values()))


def start(algorithm: Algorithm) -> ServerState:
    params = {"x": torch.tensor([2.0, -1.0, 0.5])}
    return ServerState(0, params, algorithm.init(params))


def played(federation: Federation) -> tuple[ServerState, list[RoundReport]]:
    state, reports = start(federation.algorithm), []
    for _ in range(ROUNDS):
        state, report = play_round(federation, state)
        reports.append(report)
    return state, reports


@pytest.mark.parametrize("name", PARTS)
def test_every_strategy_ends_where_it_ends_in_the_clear(name: str) -> None:
    plain, plain_reports = played(federation(STRATEGIES[name](), TASKS, rounds=ROUNDS))
    hidden, reports = played(secure(STRATEGIES[name]()))
    assert [report.reason for report in reports] == [None] * ROUNDS
    assert torch.allclose(plain.params["x"], hidden.params["x"], atol=1e-4, rtol=1e-4)
    for one, other in zip(plain_reports, reports, strict=True):
        assert other.collected.total.weight == one.collected.total.weight
        assert other.collected.total.counts == one.collected.total.counts
        assert other.collected.total.metrics == pytest.approx(one.collected.total.metrics, rel=1e-4)
    assert plain_reports[-1].evaluation is not None
    assert reports[-1].evaluation is not None
    for key, value in plain_reports[-1].evaluation.union.items():
        assert float(reports[-1].evaluation.union[key]) == pytest.approx(float(value), rel=1e-3, abs=1e-4)


def test_the_coordinator_gets_nothing_but_messages_of_the_sum_and_no_site_has_figures() -> None:
    hidden = secure(fedavg())
    _, reports = played(hidden)
    assert isinstance(hidden.engine, Vanishing)
    assert hidden.engine.seen
    assert all(isinstance(reply, SecureSumAnswer) for reply in hidden.engine.seen)
    for report in reports:
        assert report.collected.metrics == {}
        assert report.collected.counts == {}
        assert report.collected.clipped == 0
    assert reports[-1].evaluation is not None
    assert reports[-1].evaluation.sites == {}


@pytest.mark.parametrize("phase", range(5))
def test_one_that_vanishes_in_any_phase_does_not_stop_the_round(phase: int) -> None:
    gone = next(iter(TASKS))
    hidden = secure(fedavg(), vanish={gone: phase})
    _, report = play_round(hidden, start(hidden.algorithm))
    assert report.reason is None
    others = {name: task for name, task in TASKS.items() if name != gone} if phase <= 2 else TASKS
    plain = federation(fedavg(), others, rounds=ROUNDS)
    _, expected = play_round(plain, start(plain.algorithm))
    got, want = report.collected.total, expected.collected.total
    assert got.reports == len(others)
    assert got.weight == want.weight
    assert torch.allclose(got.averaged["delta"]["x"], want.averaged["delta"]["x"], atol=1e-4)
    assert set(report.collected.left_out) == ({gone} if phase <= 2 else set())


def test_below_the_threshold_a_round_does_not_stand_and_says_why() -> None:
    names = list(TASKS)
    hidden = secure(fedavg(), vanish={names[0]: 2, names[3]: 2})
    before = start(hidden.algorithm)
    after, report = play_round(hidden, before)
    assert report.reason is not None
    assert torch.equal(after.params["x"], before.params["x"])
    assert report.collected.total.reports == 0
    assert report.collected.left_out[names[1]] == "3 participants sent a masked vector; the threshold is 4"


def test_a_round_is_answered_once_though_it_is_asked_for_twice() -> None:
    hidden = secure(fedavg())
    before = start(hidden.algorithm)
    assert play_round(hidden, before)[1].reason is None
    assert play_round(hidden, before)[1].reason is not None


def test_one_set_of_figures_is_answered_once_under_whatever_number_the_coordinator_asks_for_it() -> None:
    hidden = secure(fedavg())
    request = Evaluate(start(hidden.algorithm).params, "test", 1)
    under = {
        number: drive(hidden.collect_evaluation(list(TASKS), request, number), hidden.engine) for number in (2, 1, 3)
    }
    assert {number: bool(collected.union) for number, collected in under.items()} == {1: True, 2: False, 3: False}
    assert all("round" in reason for reason in under[2].left_out.values())


def test_a_weight_above_the_agreed_one_keeps_its_participant_out() -> None:
    name = next(iter(TASKS))
    hidden = secure(fedavg(), tasks={**TASKS, name: replace(TASKS[name], weight=33.0)})
    _, report = play_round(hidden, start(hidden.algorithm))
    assert report.collected.left_out == {
        name: "its weight is more than secure_sum.max_weight; raise that for everybody"
    }


@pytest.mark.parametrize("kind", ["train", "evaluate", "dry round"])
def test_nothing_leaves_in_the_clear_whatever_the_coordinator_asks_for(kind: str) -> None:
    hidden = secure(fedavg())
    state = start(hidden.algorithm)
    sent = hidden.algorithm.message(state, Clock(0, ROUNDS))
    requests: dict[str, Request] = {
        "train": Train(sent),
        "evaluate": Evaluate(state.params, "test"),
        "dry round": DryRound(sent),
    }
    replies = dict(hidden.engine.exchange(dict.fromkeys(TASKS, requests[kind])))
    assert len(replies) == COUNT
    for reply in replies.values():
        assert isinstance(reply, Failure)
        assert "in the clear" in reply.reason


def test_a_message_out_of_the_blue_is_refused() -> None:
    side = any_side()
    with pytest.raises(SecureSumError, match="takes no part in"):
        side.answer(SecureSumStep(b"anything"), lambda work: pytest.fail("nothing is to be done"))


def test_a_journal_remembers_over_a_crash_and_a_line_cut_short_was_never_answered_on(tmp_path: Path) -> None:
    path = tmp_path / "sums" / "0.jsonl"
    journal = AnswerJournal(path)
    journal({"a": b"1", "b": b"2"})
    for again in (journal, AnswerJournal(path)):
        with pytest.raises(SecureSumError, match="gives one only"):
            again({"c": b"3", "a": b"1"})
    with path.open("a") as file:
        file.write('{"c": "3')
    AnswerJournal(path)({"c": b"3"})
    with pytest.raises(SecureSumError):
        AnswerJournal(path)({"c": b"3"})
    path.write_text("nonsense\n")
    with pytest.raises(RunFolderError, match="damaged"):
        AnswerJournal(path)({"d": b"4"})


def test_two_processes_with_one_journal_do_not_both_answer(tmp_path: Path) -> None:
    one, other = (AnswerJournal(tmp_path / "sums.jsonl") for _ in range(2))
    one({"a": b"1"})
    other({"b": b"2"})  # both have read the file by now
    one({"c": b"3"})
    with pytest.raises(SecureSumError, match="gives one only"):
        other({"c": b"3"})
    with pytest.raises(SecureSumError, match="gives one only"):
        one.refuse(["b"])
    (tmp_path / "sums.jsonl").write_text("")
    with pytest.raises(RunFolderError, match="damaged"):
        one({"d": b"4"})


def test_a_new_journal_is_on_disk_in_its_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    AnswerJournal(tmp_path / "run" / "sums.jsonl")({"a": b"1"})
    assert {str(tmp_path), str(tmp_path / "run"), str(tmp_path / "run" / "sums.jsonl")} <= set(synced)


def test_entropy_of_a_side_is_secret_unless_told() -> None:
    side = any_side()
    assert side._entropy == Entropy.secret
