"""What is released once is not released again in another shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from foedus.compression.blocks import quantise
from foedus.compression.encoding import EncodedTensors
from foedus.core.errors import ParticipantError
from foedus.engines.in_process import InProcessEngine
from foedus.federation.messages import (
    Broadcast,
    Clock,
    Evaluate,
    Failure,
    LocalUpdate,
    Reply,
    Train,
    Trees,
    payload_bytes,
)
from foedus.federation.protocols import LocalTask, Memory
from foedus.privacy.outbox import DecodedTree, Outbox
from foedus.privacy.signing.digests import request_digest
from strategies.quadratics import QuadraticTask, point


def train(value: float = 0.0, round_index: int = 0, rounds: int = 3) -> Train:
    return Train(Broadcast({"params": point(value), "control": point(1.0)}, Clock(round_index, rounds)))


@dataclass
class Noisy:
    """A strategy's local half that never answers twice alike, as released noise does not."""

    answered: int = 0
    fails: bool = False

    def __call__(self, task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        self.answered += 1
        if self.fails:
            raise ParticipantError("no update")
        noise = {"x": torch.randn(4, dtype=torch.float64)}
        return LocalUpdate({"delta": noise}, 1.5, metrics={"loss": 0.1}), {"seen": {"noise": noise["x"].float()}}


def engine(local: Noisy, outbox: Outbox | None) -> InProcessEngine:
    return InProcessEngine(local, {"a": QuadraticTask(1.0, 0.0, [0.1])}, outbox=outbox)


def reply_of(engine: InProcessEngine, request: Train) -> Reply:
    [(_, reply)] = engine.exchange({"a": request})
    return reply


def delta(reply: Reply) -> Tensor:
    assert isinstance(reply, LocalUpdate)
    return reply.averaged["delta"]["x"]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "run" / "outbox")


def test_after_a_crash_the_same_request_is_answered_by_the_same_numbers_without_training(outbox: Outbox) -> None:
    first = reply_of(engine(Noisy(), outbox), train())
    again = Noisy()
    restarted = engine(again, outbox)
    second = reply_of(restarted, train())
    assert again.answered == 0
    assert torch.equal(delta(first), delta(second))
    assert isinstance(first, LocalUpdate)
    assert isinstance(second, LocalUpdate)
    assert (first.weight, first.metrics) == (second.weight, second.metrics)
    restarted.settle(["a"])
    restarted.save_memories(outbox.folder.parent / "memories")
    other = engine(Noisy(), None)
    other.load_memories(outbox.folder.parent / "memories")
    assert torch.equal(other.memories()["a"]["seen"]["noise"], delta(first).float())


@pytest.mark.parametrize("request_", [train(0.5), train(round_index=1), train(rounds=4)], ids=["params", "round", "of"])
def test_another_request_is_another_release(outbox: Outbox, request_: Train) -> None:
    local = Noisy()
    asked = engine(local, outbox)
    assert not torch.equal(delta(reply_of(asked, train())), delta(reply_of(asked, request_)))
    assert local.answered == 2


def test_nothing_is_kept_of_a_failure_or_an_evaluation(outbox: Outbox) -> None:
    failing = engine(Noisy(fails=True), outbox)
    assert isinstance(reply_of(failing, train()), Failure)
    [(_, evaluation)] = failing.exchange({"a": Evaluate(point(0.0), "test")})
    assert not isinstance(evaluation, Failure)
    assert not outbox.has_round(1)


def test_a_damaged_reply_is_neither_sent_nor_made_anew(outbox: Outbox) -> None:
    reply_of(engine(Noisy(), outbox), train())
    [kept] = outbox.folder.glob("*/*")
    kept.write_bytes(kept.read_bytes()[:-8])
    again = Noisy()
    reply = reply_of(engine(again, outbox), train())
    assert isinstance(reply, Failure)
    assert "damaged" in reply.reason
    assert again.answered == 0


def test_every_part_of_a_reply_comes_back_as_it_was(outbox: Outbox) -> None:
    values = torch.linspace(-1, 1, 500)
    encoded = EncodedTensors({"w": quantise(values.clone(), 8)})
    update = LocalUpdate(
        averaged={"delta/a": {"h.0/w": torch.ones(2, 3, dtype=torch.bfloat16)}, "empty": {}},
        weight=0.1 + 0.2,
        summed={"count": {"value": torch.tensor(3.0, dtype=torch.float64)}},
        metrics={"loss": 1 / 3},
        encoded={"small": encoded},
        counts={"steps": 3},
    )
    assert all(getattr(update, part.name) for part in fields(update)), "a new part of updates must be kept, too"
    shared = torch.arange(6.0)
    memory: Trees = {"optimizer": {"first": shared, "second": shared, "step": torch.tensor(7)}}
    outbox.put("a/../b", 4, "0" * 64, update, memory)
    found = outbox.get("a/../b", 4, "0" * 64)
    assert found is not None
    back, remembered = found
    assert payload_bytes(back) == payload_bytes(update)
    assert (back.weight, back.metrics, back.counts) == (update.weight, update.metrics, update.counts)
    assert isinstance(back.encoded["small"], DecodedTree)
    for kept, given in ((back.decoded().averaged, update.decoded().averaged), (back.summed, update.summed)):
        require_equal(kept, given)
    require_equal(remembered, memory)


def require_equal(left: Trees, right: Trees) -> None:
    assert left.keys() == right.keys()
    for name, tree in left.items():
        assert tree.keys() == right[name].keys()
        for key, tensor in tree.items():
            assert tensor.dtype == right[name][key].dtype
            assert torch.equal(tensor, right[name][key])


def test_the_digest_depends_on_every_name_shape_type_value_and_the_clock_and_not_on_order() -> None:
    def digest(tree: Mapping[str, Tensor], name: str = "params", clock: Clock = Clock(0, 1)) -> str:  # noqa: B008
        return request_digest(Train(Broadcast({name: tree}, clock))).hex()

    a, b = torch.tensor([1.0, 2.0]), torch.tensor([[3.0]], dtype=torch.bfloat16)
    assert digest({"a": a, "b": b}) == digest({"b": b, "a": a})
    different = [
        digest({"a": a, "b": b}),
        digest({"a": a, "c": b}),
        digest({"a": a, "b": b.float()}),
        digest({"a": a.reshape(2, 1), "b": b}),
        digest({"a": -a, "b": b}),
        digest({"a": a, "b": b}, "control"),
        digest({"a": a, "b": b}, clock=Clock(1, 1)),
        digest({"a": a, "b": b}, clock=Clock(0, 2)),
    ]
    assert len(set(different)) == len(different)


def test_an_encoded_broadcast_has_the_digest_of_what_it_stands_for() -> None:
    tree = {"w": torch.ones(3)}
    encoded = Broadcast({}, Clock(0, 1), {"params": DecodedTree(tree, 1)})
    assert request_digest(Train(encoded)) == request_digest(Train(Broadcast({"params": tree}, Clock(0, 1))))


def test_replies_are_their_owner_s_alone_and_forgotten_when_no_round_needs_them(outbox: Outbox) -> None:
    local = Noisy()
    for index in range(3):
        reply_of(engine(local, outbox), train(round_index=index))
    files = list(outbox.folder.glob("*/*"))
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (outbox.folder, files[0].parent)} == {0o700}
    outbox.forget(before=3)
    assert [outbox.has_round(number) for number in (1, 2, 3)] == [False, False, True]
    outbox.clear()
    outbox.clear()
    assert not outbox.folder.exists()


def test_a_half_written_reply_is_none(outbox: Outbox) -> None:
    reply_of(engine(Noisy(), outbox), train())
    [kept] = outbox.folder.glob("*/*")
    kept.rename(kept.with_name(f".{kept.name}.part"))
    assert not outbox.has_round(1)
    again = Noisy()
    reply_of(engine(again, outbox), train())
    assert again.answered == 1
