"""What every engine promises. A new engine joins by one entry in ENGINES."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pytest
import torch

from deployed.answering import Switchboard, remote_engine
from deployed.loopback import Direct
from deployed.provisioned import linked
from deployed.simulator import SITES, simulated
from foedus.core import trees
from foedus.core.errors import DataError, ParticipantError, RunFolderError
from foedus.engines.in_process import InProcessEngine
from foedus.engines.link.sockets import Hub
from foedus.federation.messages import (
    Broadcast,
    Clock,
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    Reply,
    Request,
    Train,
    TrainAlone,
)
from foedus.federation.protocols import Engine, LocalRule, LocalTask, Memory
from strategies.quadratics import QuadraticTask, point


class MakeEngine(Protocol):
    def __call__(self, local: LocalRule, tasks: Mapping[str, LocalTask]) -> Engine: ...


def in_process(request: pytest.FixtureRequest, homes: Path) -> MakeEngine:
    return InProcessEngine


def in_bytes(request: pytest.FixtureRequest, homes: Path) -> MakeEngine:
    """Everything of a run between organisations but sockets and the network."""
    board = Switchboard(SITES)
    carrier = Direct({f"s{number}": mailbox for number, mailbox in enumerate(board.mailboxes)})
    return lambda local, tasks: remote_engine(carrier, board, local, tasks, homes)


def over_flare(request: pytest.FixtureRequest, homes: Path) -> MakeEngine:
    hub, board = request.getfixturevalue("flare_simulator")
    return lambda local, tasks: remote_engine(hub, board, local, tasks, homes)


def over_mtls(request: pytest.FixtureRequest, homes: Path) -> MakeEngine:
    hub, board = request.getfixturevalue("founded_federation")
    return lambda local, tasks: remote_engine(hub, board, local, tasks, homes)


ENGINES: Mapping[str, Callable[[pytest.FixtureRequest, Path], MakeEngine]] = {
    "in process": in_process,
    "in bytes": in_bytes,
    "over FLARE": over_flare,
    "over mTLS between founded parties": over_mtls,
}


@pytest.fixture(scope="module")
def flare_simulator() -> Iterator[tuple[Hub, Switchboard]]:
    with TemporaryDirectory(prefix="foedus-") as folder, simulated(Path(folder)) as made:
        yield made


@pytest.fixture(scope="module")
def founded_federation() -> Iterator[tuple[Hub, Switchboard]]:
    board = Switchboard(SITES)
    mailboxes = {f"s{number}": mailbox for number, mailbox in enumerate(board.mailboxes)}
    with TemporaryDirectory(prefix="foedus-") as folder, linked(Path(folder), mailboxes) as made:
        yield made.hub, board


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MakeEngine:
    return ENGINES[request.param](request, tmp_path_factory.mktemp("homes"))


@dataclass(frozen=True)
class Site(QuadraticTask):
    """A participant that can be told what to do in training, beside sending where its centre is."""

    trouble: Callable[[], None] | None = None
    remember: Callable[[Memory], Memory] | None = None


def site(
    centre: float, trouble: Callable[[], None] | None = None, remember: Callable[[Memory], Memory] | None = None
) -> Site:
    return Site(1.0, centre, [0.1], trouble=trouble, remember=remember)


def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
    """Send the task's centre plus what was received; count the rounds in memory."""
    assert isinstance(task, Site)
    if task.trouble is not None:
        task.trouble()
    rounds = memory.get("rounds", {"value": torch.zeros(())})["value"] + 1
    sent = {"x": broadcast.params["x"] + task.centre}
    remembered = {"rounds": {"value": rounds}}
    update = LocalUpdate({"delta": sent}, weight=float(rounds))
    return update, remembered if task.remember is None else task.remember(remembered)


def train(value: float = 0.0) -> Train:
    return Train(Broadcast({"params": point(value)}, Clock(0, 1)))


def answers(engine: Engine, requests: Mapping[str, Request]) -> dict[str, Reply]:
    """Return the replies; nobody may reply twice."""
    replies: dict[str, Reply] = {}
    for name, reply in engine.exchange(requests):
        assert name not in replies
        replies[name] = reply
    return replies


def sent(reply: Reply) -> float:
    assert isinstance(reply, LocalUpdate)
    return float(reply.averaged["delta"]["x"])


def rounds_remembered(engine: Engine, *names: str) -> list[float]:
    """Return what each participant counts this round as, and leave the count as it was."""
    replies = answers(engine, dict.fromkeys(names, train()))
    engine.settle([])
    return [reply.weight if isinstance(reply, LocalUpdate) else -1 for reply in (replies[name] for name in names)]


def three(make: MakeEngine) -> Engine:
    return make(local, {"b": site(1.0), "a": site(2.0), "c": site(3.0)})


def test_the_population_is_everybody_in_the_order_given(make: MakeEngine) -> None:
    assert tuple(three(make).population()) == ("b", "a", "c")


def test_everybody_asked_answers_once_and_nobody_else(make: MakeEngine) -> None:
    replies = answers(three(make), {"c": train(), "b": train()})
    assert {name: sent(reply) for name, reply in replies.items()} == {"b": 1.0, "c": 3.0}


def test_each_participant_gets_its_own_request(make: MakeEngine) -> None:
    replies = answers(three(make), {"a": train(10.0), "b": train(20.0), "c": Evaluate(point(3.5), "test")})
    assert (sent(replies["a"]), sent(replies["b"])) == (12.0, 21.0)
    evaluation = replies["c"]
    assert isinstance(evaluation, Evaluation)
    assert float(evaluation.sums["loss"]) == 0.125


def test_who_trains_nothing_alone_says_so_and_goes_on(make: MakeEngine) -> None:
    engine = three(make)
    reply = answers(engine, {"a": TrainAlone(Clock(0, 1))})["a"]
    assert isinstance(reply, Failure)
    assert "asked to train alone, and does not" in reply.reason
    assert sent(answers(engine, {"a": train(10.0)})["a"]) == sent(answers(three(make), {"a": train(10.0)})["a"])


def test_asking_nobody_or_a_stranger_brings_no_answer(make: MakeEngine) -> None:
    engine = three(make)
    assert answers(engine, {}) == {}
    assert answers(engine, {"nobody": train()}) == {}


def fail(error: Exception) -> Callable[[], None]:
    def trouble() -> None:
        raise error

    return trouble


def test_one_participants_failure_costs_its_own_answer_only(make: MakeEngine) -> None:
    engine = make(local, {"a": site(1.0), "b": site(2.0, fail(RuntimeError("broken"))), "c": site(3.0)})
    replies = answers(engine, dict.fromkeys("abc", train()))
    assert isinstance(replies["b"], Failure)
    assert (sent(replies["a"]), sent(replies["c"])) == (1.0, 3.0)


def failure_of(make: MakeEngine, error: Exception) -> str:
    reply = answers(make(local, {"a": site(1.0, fail(error))}), {"a": train()})["a"]
    assert isinstance(reply, Failure)
    return reply.reason


def test_a_failures_reason_names_type_and_place_and_holds_no_data(make: MakeEngine) -> None:
    reason = failure_of(make, KeyError("patient Müller"))
    assert "raised KeyError at test_engine_contract.py:" in reason
    assert "Müller" not in reason


def test_a_reason_that_is_written_to_be_shown_is_shown(make: MakeEngine) -> None:
    assert failure_of(make, ParticipantError("it has no training rows")) == "it has no training rows"
    assert failure_of(make, DataError("ward.csv has no column text")) == "ward.csv has no column text"


def test_what_counted_is_remembered(make: MakeEngine) -> None:
    engine = three(make)
    for _ in range(2):
        answers(engine, {"a": train(), "b": train()})
        engine.settle(["a", "b"])
    assert rounds_remembered(engine, "a", "b", "c") == [3, 3, 1]


def test_what_did_not_count_is_forgotten(make: MakeEngine) -> None:
    engine = three(make)
    answers(engine, {"a": train(), "b": train()})
    engine.settle(["a", "b"])
    answers(engine, {"a": train(), "b": train()})
    engine.settle(["b"])
    assert rounds_remembered(engine, "a", "b") == [2, 3]


def test_evaluating_changes_no_memory(make: MakeEngine) -> None:
    engine = three(make)
    answers(engine, {"a": train()})
    engine.settle(["a"])
    answers(engine, {"a": Evaluate(point(0.0), "test")})
    engine.settle(["a"])
    assert rounds_remembered(engine, "a") == [2]


def test_a_failure_leaves_the_memory_as_it_was(make: MakeEngine) -> None:
    errors: list[Exception] = []

    def trouble() -> None:
        if errors:
            raise errors.pop()

    engine = make(local, {"a": site(1.0, trouble)})
    answers(engine, {"a": train()})
    engine.settle(["a"])
    errors.append(RuntimeError("broken"))
    answers(engine, {"a": train()})
    engine.settle(["a"])
    assert rounds_remembered(engine, "a") == [2]


def test_a_memory_that_is_not_finite_is_a_failure(make: MakeEngine) -> None:
    def spoil(memory: Memory) -> Memory:
        return {"control": {"x": torch.tensor([1.0, float("nan")])}}

    reply = answers(make(local, {"a": site(1.0, remember=spoil)}), {"a": train()})["a"]
    assert reply == Failure("what it would remember as control holds NaN or infinite values")


def test_a_strategy_can_make_participants_forget(make: MakeEngine) -> None:
    def every_second_round(memory: Memory) -> Memory:
        return {} if float(memory["rounds"]["value"]) == 2 else memory

    engine = make(local, {"a": site(1.0, remember=every_second_round)})
    for _ in range(2):
        answers(engine, {"a": train()})
        engine.settle(["a"])
    assert rounds_remembered(engine, "a") == [1]


AWKWARD = ("St. Mary/Ward 3", "../up", "Krankenhaus Süd", "a", "A", ".", "x" * 300, "%2F", "北京")


def test_memories_survive_in_a_folder_whatever_participants_are_called(make: MakeEngine, tmp_path: Path) -> None:
    def engine() -> Engine:
        return make(local, {name: site(1.0) for name in AWKWARD})

    first = engine()
    for number, _ in enumerate(AWKWARD):
        cohort = AWKWARD[number:]
        answers(first, dict.fromkeys(cohort, train()))
        first.settle(cohort)
    first.save_memories(tmp_path / "inner" / "memories")
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]

    second = engine()
    second.load_memories(tmp_path / "inner" / "memories")
    assert rounds_remembered(second, *AWKWARD) == [2 + number for number, _ in enumerate(AWKWARD)]


def test_loading_replaces_what_was_remembered(make: MakeEngine, tmp_path: Path) -> None:
    engine = three(make)
    engine.save_memories(tmp_path)
    answers(engine, {"a": train()})
    engine.settle(["a"])
    engine.load_memories(tmp_path)
    assert rounds_remembered(engine, "a") == [1]


def test_memories_come_back_bit_for_bit(make: MakeEngine, tmp_path: Path) -> None:
    values = {
        "weights": torch.tensor([1e-42, -0.0, 3.0], dtype=torch.float32),
        "half/precise": torch.tensor([[0.1]], dtype=torch.bfloat16),
        "step": torch.tensor(7),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
    }
    seen: list[Memory] = []

    def keep(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        seen.append(memory)
        return LocalUpdate({"delta": broadcast.params}, 1.0), {"optimizer": values}

    engine = make(keep, {"a": site(1.0)})
    answers(engine, {"a": train()})
    engine.settle(["a"])
    engine.save_memories(tmp_path)
    again = make(keep, {"a": site(1.0)})
    again.load_memories(tmp_path)
    answers(again, {"a": train()})
    read = seen[-1]["optimizer"]
    assert read.keys() == values.keys()
    assert trees.mismatch(read, values) is None
    for name, value in values.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)
    assert torch.signbit(read["weights"][1])


def test_a_damaged_list_of_memories_is_refused(make: MakeEngine, tmp_path: Path) -> None:
    engine = three(make)
    answers(engine, {"a": train()})
    engine.settle(["a"])
    engine.save_memories(tmp_path)
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps(["a"])[:-1])
    with pytest.raises(RunFolderError, match="missing or damaged"):
        three(make).load_memories(tmp_path)
