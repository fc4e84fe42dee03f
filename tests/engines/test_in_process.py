from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foedus.core.errors import RunFolderError
from foedus.engines.in_process import InProcessEngine
from foedus.engines.site import failure_reason
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Train
from foedus.federation.protocols import LocalTask, Memory, ServerState
from foedus.federation.round import play_round
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import QuadraticTask, federation, point

TASKS: Mapping[str, LocalTask] = {name: QuadraticTask(1.0, 1.0, [0.1]) for name in "dbac"}


def failing(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
    raise ValueError("for debugging, the whole message")


def remembering(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
    return LocalUpdate({"delta": broadcast.params}, 1.0), {"seen": {"value": torch.ones(())}}


def train() -> Train:
    return Train(Broadcast({"params": point(0.0)}, Clock(0, 1)))


def test_replies_come_in_the_populations_order_whatever_the_requests() -> None:
    engine = InProcessEngine(fedavg().local, TASKS)
    assert [name for name, _ in engine.exchange(dict.fromkeys("abcd", train()))] == ["d", "b", "a", "c"]


def test_for_debugging_a_participants_error_is_raised_as_it_is() -> None:
    engine = InProcessEngine(failing, TASKS, reraise=True)
    with pytest.raises(ValueError, match="the whole message"):
        list(engine.exchange({"a": train()}))


def test_stopping_the_program_is_no_participants_failure() -> None:
    def interrupted(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(InProcessEngine(interrupted, TASKS).exchange({"a": train()}))


def test_an_error_without_a_place_is_still_named() -> None:
    assert failure_reason(KeyError("Müller")) == "raised KeyError (run with --debug to see it)"


def test_a_participant_works_only_when_its_reply_is_asked_for() -> None:
    worked: list[LocalTask] = []

    def noting(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        worked.append(task)
        return fedavg().local(task, broadcast, memory)

    replies = InProcessEngine(noting, TASKS).exchange(dict.fromkeys("abcd", train()))
    assert worked == []
    next(replies)
    assert len(worked) == 1


@pytest.mark.parametrize("participants", [3, 30])
def test_at_most_one_earlier_update_is_alive_while_a_participant_trains(participants: int) -> None:
    sent: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def watched(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        alive.append(sum(reference() is not None for reference in sent))
        update, memory = fedavg().local(task, broadcast, memory)
        sent.extend(weakref.ref(tensor) for tensor in update.averaged["delta"].values())
        return update, memory

    tasks = {str(i): QuadraticTask(1.0, float(i), [0.1]) for i in range(participants)}
    run = federation(replace(fedavg(), local=watched), tasks, rounds=2)
    state, _ = play_round(run, ServerState(0, point(0.0)))
    play_round(run, state)
    assert len(alive) == 2 * participants
    assert max(alive) <= 1


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_memories_that_were_damaged_are_refused(tmp_path: Path, damage: str) -> None:
    engine = InProcessEngine(remembering, TASKS)
    list(engine.exchange({"a": train()}))
    engine.settle(["a"])
    engine.save_memories(tmp_path)
    [file] = tmp_path.glob("*.safetensors")
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(RunFolderError, match="missing or damaged"):
        InProcessEngine(remembering, TASKS).load_memories(tmp_path)
