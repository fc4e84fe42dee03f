from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from foedus.compression.blocks import int4, int8
from foedus.compression.encoding import Codec
from foedus.compression.feedback import compressed, encode, with_compressed_broadcast
from foedus.compression.half import half
from foedus.compression.sparse_chunks import sparse_chunks
from foedus.compression.top_k import top_k
from foedus.core import trees
from foedus.core.errors import ConfigError, ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.collect import RunningSum
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Train, payload_bytes
from foedus.federation.protocols import LocalTask, Memory, ServerState
from foedus.strategies.diloco import diloco
from foedus.strategies.fedavg import fedavg
from foedus.strategies.fedexp import fedexp
from foedus.strategies.fednova import fednova
from foedus.strategies.scaffold import scaffold
from strategies.quadratics import QuadraticTask, pair, place, played, point

CODECS: dict[str, Codec] = {"fp16": half, "int8": int8, "int4": int4, "top_k": top_k(0.1), "sparse": sparse_chunks(0.1)}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]


def deltas(number: int) -> ParamTree:
    generator = torch.Generator().manual_seed(number)
    return {"w": torch.randn(40, 30, generator=generator) * 1e-3, "b": torch.randn(30, generator=generator)}


def test_what_was_sent_and_the_residual_add_up_to_all_deltas(codec: Codec) -> None:
    sent = total = trees.scale(deltas(0), 0.0)
    residual: ParamTree | None = None
    for number in range(30):
        encoded, residual = encode(deltas(number), codec, residual)
        sent, total = trees.add(sent, encoded.decode()), trees.add(total, deltas(number))
    assert residual is not None
    for name, tensor in trees.add(sent, residual).items():
        torch.testing.assert_close(tensor, total[name], rtol=1e-5, atol=1e-5)


def test_without_feedback_small_values_are_lost_for_good_and_with_it_they_arrive() -> None:
    delta = {"w": torch.tensor([1.0, 0.01])}
    residual: ParamTree | None = None
    arrived = {True: torch.zeros(2), False: torch.zeros(2)}
    for _ in range(100):
        encoded, residual = encode(delta, int4, residual)
        arrived[True] += encoded.decode()["w"]
        arrived[False] += encode(delta, int4)[0].decode()["w"]
    assert arrived[False].tolist() == [100.0, 0.0]
    assert arrived[True].tolist() == pytest.approx([100.0, 1.0], abs=0.1)


def test_encoding_changes_neither_delta_nor_residual(codec: Codec) -> None:
    delta, residual = deltas(1), deltas(2)
    kept = trees.clone(delta), trees.clone(residual)
    encode(delta, codec, residual)
    for now, before in zip((delta, residual), kept, strict=True):
        assert all(torch.equal(now[name], before[name]) for name in now)


def test_tensors_that_do_not_lie_in_one_piece_are_encoded_too(codec: Codec) -> None:
    across = {"w": torch.randn(30, 40).T}
    encoded, residual = encode(across, codec)
    torch.testing.assert_close(encoded.decode()["w"] + residual["w"], across["w"])


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_is_refused(codec: Codec, broken: float) -> None:
    with pytest.raises(ParticipantError, match="its update holds NaN or infinite values in delta"):
        encode({"w": torch.tensor([1.0, broken])}, codec)


@pytest.mark.parametrize("algorithm", [scaffold(), fednova(), fedexp(), diloco()])
def test_a_strategy_whose_update_is_not_the_delta_alone_is_refused(algorithm: object) -> None:
    with pytest.raises(ConfigError, match="compression: works where updates hold the part delta alone"):
        compressed(algorithm, int8)  # type: ignore[arg-type] # several kinds in one list


def test_the_residual_stays_with_the_participant_and_is_used_next_time() -> None:
    algorithm = compressed(fedavg(), int4)
    params = {"x": torch.tensor([1.0, 0.01])}
    broadcast = Broadcast({"params": params}, Clock(0, 2))
    task = QuadraticTask(1.0, 0.0, [0.5])
    first, memory = algorithm.local(task, broadcast, {})
    _, again = algorithm.local(task, broadcast, memory)
    lost = {"x": torch.tensor([0.0, 0.005])}
    torch.testing.assert_close(dict(memory["residual"]), lost, rtol=0, atol=1e-6)
    torch.testing.assert_close(again["residual"]["x"], 2 * lost["x"], rtol=0, atol=1e-6)
    assert not first.averaged
    _, without = compressed(fedavg(), int4, error_feedback=False).local(task, broadcast, {})
    assert not without


@pytest.mark.parametrize("name", CODECS)
def test_with_feedback_a_federation_comes_to_rest_where_it_does_uncompressed(name: str) -> None:
    expected = place(played(fedavg(), pair(), rounds=300))
    assert place(played(compressed(fedavg(), CODECS[name]), pair(), rounds=300)) == pytest.approx(expected, abs=1e-5)


def update(*values: float, weight: float = 1.0) -> LocalUpdate:
    encoded, _ = encode({"x": torch.tensor(values)}, int8)
    return LocalUpdate({}, weight, encoded={"delta": encoded})


LIKE = {"delta": {"x": torch.zeros(2)}}


def test_encoded_updates_are_decoded_when_they_are_added() -> None:
    total = RunningSum(LIKE, {})
    total.add(update(127.0, 0.0))
    total.add(update(0.0, 127.0, weight=3.0))
    assert total.aggregate(2).averaged["delta"]["x"].tolist() == [31.75, 95.25]


def test_encoded_updates_are_checked_like_others() -> None:
    total = RunningSum(LIKE, {})
    with pytest.raises(ParticipantError, match=r"x has shape \(3,\), expected \(2,\)"):
        total.add(update(1.0, 2.0, 3.0))
    with pytest.raises(ParticipantError, match=r"holds the parts \['control'\]; declared are \['delta'\]"):
        total.add(replace(update(1.0, 2.0), encoded={"control": update(1.0, 2.0).encoded["delta"]}))
    with pytest.raises(ParticipantError, match="the part delta twice"):
        total.add(replace(update(1.0, 2.0), averaged=LIKE))
    assert total.reports == 0


def test_bytes_are_counted_as_sent() -> None:
    assert payload_bytes(update(1.0, 2.0)) == (2 + 4) + 8


def gpt_parameters() -> ParamTree:
    """Return the shapes of a GPT of 0.11 M parameters, as in the measured runs: most tensors are small."""
    d, layers, vocabulary, block = 64, 2, 65, 32
    tree = {"wte": torch.zeros(vocabulary, d), "wpe": torch.zeros(block, d), "ln.w": torch.zeros(d)}
    for layer in range(layers):
        for name, shape in {
            "attn": (d, 3 * d),
            "attn.b": (3 * d,),
            "proj": (d, d),
            "proj.b": (d,),
            "up": (d, 4 * d),
            "up.b": (4 * d,),
            "down": (4 * d, d),
            "down.b": (d,),
            "ln1": (d,),
            "ln2": (d,),
        }.items():
            tree[f"{layer}.{name}"] = torch.zeros(shape)
    return tree


def test_int4_at_50_local_steps_uploads_380_times_fewer_bytes_than_synchronising_every_step() -> None:
    params = gpt_parameters()
    plain = fedavg().sample_update(params, {"loss": 0.0})
    packed = compressed(diloco(upload="delta"), int4).sample_update(params, {"loss": 0.0})
    assert 50 * payload_bytes(plain) / payload_bytes(packed) >= 380


def test_the_sample_update_is_as_large_as_a_real_one(codec: Codec) -> None:
    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        return LocalUpdate({"delta": deltas(3)}, 1.0, metrics={"loss": 1.0}, counts={"steps": 1, "tokens": 2}), memory

    algorithm = compressed(replace(fedavg(), local=local), codec)
    real, _ = algorithm.local(QuadraticTask(1.0, 0.0, []), Broadcast({"params": point(0.0)}, Clock(0, 1)), {})
    assert payload_bytes(real) == payload_bytes(algorithm.sample_update(deltas(0), {"loss": 0.0}))


def test_a_compressed_broadcast_is_decoded_by_the_participant_and_counted_as_sent() -> None:
    algorithm = with_compressed_broadcast(compressed(fedavg(), int4), int8)
    params = {"x": torch.randn(300, generator=torch.Generator().manual_seed(0))}
    sent = algorithm.message(ServerState(0, params), Clock(0, 1))
    assert payload_bytes(Train(sent)) == 300 + 2 * 4
    received = sent.decoded().params["x"]
    torch.testing.assert_close(received, params["x"], rtol=0, atol=float(params["x"].abs().max()) / 254 * 1.001)
    assert torch.equal(sent.encoded["params"].decode()["x"], received)


def test_what_a_compressed_broadcast_loses_does_not_wear_the_model_away() -> None:
    """Participants that learn nothing leave the parameters as they were, to the bit, however often they are sent."""
    start = {"x": torch.randn(300, generator=torch.Generator().manual_seed(0))}
    idle = {name: QuadraticTask(1.0, 0.0, []) for name in "ab"}
    for algorithm in (fedavg(), diloco(0.9, upload="delta")):
        state = played(with_compressed_broadcast(algorithm, int8), idle, rounds=20, start=start)
        assert torch.equal(state.params["x"], start["x"])


def test_trained_parameters_as_an_update_do_not_go_with_a_compressed_broadcast() -> None:
    with pytest.raises(ConfigError, match="the part delta alone"):
        with_compressed_broadcast(diloco(), int8)
