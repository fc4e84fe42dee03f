from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from foedus.compression import blocks, half, sparse_chunks, top_k
from foedus.compression.encoding import Codec, EncodedTensors
from foedus.core.errors import MessageError, ParticipantError
from foedus.engines.codec import messages, papers
from foedus.engines.codec.messages import Answer, Question
from foedus.engines.codec.tensors import Limits, Piece, pack, unpack
from foedus.federation.membership import Agree, Begin, Finish, Recall, Settle, TellCost, Told
from foedus.federation.messages import (
    Broadcast,
    Clock,
    CountPairs,
    Counts,
    DryRound,
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    SecureSumAnswer,
    SecureSumStep,
    Train,
    TrainAlone,
)
from foedus.privacy.outbox import DecodedTree
from foedus.privacy.signing.digests import request_digest, update_digest
from foedus.privacy.signing.envelopes import (
    Attest,
    GiveReceipts,
    GoBack,
    OpenLog,
    Paper,
    SignedAnswer,
    SignedRequest,
)
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.log import Receipt
from foedus.privacy.signing.receipts import Kept
from foedus.privacy.signing.statements import Attestation, Head, Requested, Signed, sign

LIMITS = Limits()
VALUES = {
    "w": torch.tensor([[1e-42, -0.0], [3.0, float("nan")]]),
    "half/precise": torch.tensor([0.1, 65504.0], dtype=torch.float16),
    "brain": torch.tensor([[0.1]], dtype=torch.bfloat16),
    "double": torch.tensor(math.pi, dtype=torch.float64),
    "step": torch.tensor(7),
    "none": torch.empty(0, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "mask": torch.tensor([True, False]),
    "": torch.tensor([1, -2], dtype=torch.int8),
}
TRAIN = Train(Broadcast({"params": VALUES, "control": {}}, Clock(3, 10)))


def joined(pieces: Sequence[Piece]) -> bytearray:
    return bytearray(b"".join(pieces))


def asked_again(question: Question) -> Question:
    return messages.decode_question(joined(messages.encode_question(question)), LIMITS)


def answered_again(answer: Answer) -> Answer:
    return messages.decode_answer(joined(messages.encode_answer(answer)), LIMITS)


def test_every_tensor_comes_back_bit_for_bit() -> None:
    back = asked_again(TRAIN)
    assert isinstance(back, Train)
    assert back.broadcast.clock == Clock(3, 10)
    assert back.broadcast.trees.keys() == {"params", "control"}
    for name, value in VALUES.items():
        read = back.broadcast.params[name]
        assert (read.dtype, read.shape) == (value.dtype, value.shape)
        assert torch.equal(read.reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize(
    "question",
    [
        TRAIN,
        Evaluate(VALUES, "test", 4, tell=False),
        Evaluate(VALUES, "test", 4, compare=True),
        TrainAlone(Clock(3, 10)),
        CountPairs([(1, 2), (256, 300)]),
        CountPairs([]),
        DryRound(TRAIN.broadcast),
        SecureSumStep(b"invitation", TRAIN),
        SecureSumStep(b"invitation", DryRound(TRAIN.broadcast)),
        SecureSumStep(b""),
    ],
    ids=lambda question: type(question).__name__,
)
def test_a_request_means_the_same_on_the_other_side(question: Train) -> None:
    back = asked_again(question)
    assert isinstance(back, type(question))
    assert request_digest(back) == request_digest(question)


@pytest.mark.parametrize(
    "notice", [Begin("r", "seed: 0"), Agree({"labels": ["a"]}), Settle(3, True), Recall(0), TellCost(), Finish()]
)
def test_a_notice_comes_back(notice: Begin | Agree | Settle | Recall | TellCost | Finish) -> None:
    assert asked_again(notice) == notice


CODECS: dict[str, Codec] = {
    "fp16": half.half,
    "int8": blocks.int8,
    "int4": blocks.int4,
    "top_k": top_k.top_k(0.1),
    "sparseloco": sparse_chunks.sparse_chunks(0.05),
}


def encoded_update(codec: Codec) -> LocalUpdate:
    values = torch.linspace(-1, 1, 5000).reshape(50, 100)
    tree = EncodedTensors({"w": codec(values.clone()), "b": codec(torch.tensor([0.5]))})
    return LocalUpdate({}, 1.0, encoded={"delta": tree})


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_an_encoded_update_stays_encoded_and_means_the_same(codec: Codec) -> None:
    update = encoded_update(codec)
    back = answered_again(update)
    assert isinstance(back, LocalUpdate)
    assert back.encoded["delta"].byte_size() == update.encoded["delta"].byte_size()
    assert update_digest(back) == update_digest(update)


def test_an_update_comes_back_with_all_its_figures() -> None:
    update = LocalUpdate(
        {"delta": VALUES}, 0.1 + 0.2, {"c": {"x": torch.ones(2)}}, {"loss": math.inf}, {}, {"steps": 3}
    )
    back = answered_again(update)
    assert isinstance(back, LocalUpdate)
    assert (back.weight, back.metrics, back.counts) == (update.weight, update.metrics, update.counts)
    assert update_digest(back) == update_digest(update)


def test_a_reply_sent_again_counts_the_bytes_that_it_first_took() -> None:
    back = answered_again(LocalUpdate({}, 1.0, encoded={"delta": DecodedTree({"x": torch.ones(3)}, 5)}))
    assert isinstance(back, LocalUpdate)
    assert back.encoded["delta"].byte_size() == 5


def test_other_answers_come_back() -> None:
    evaluation, counts = answered_again(Evaluation({"n": torch.ones(2)})), answered_again(Counts(torch.arange(3)))
    assert isinstance(evaluation, Evaluation)
    assert torch.equal(evaluation.sums["n"], torch.ones(2))
    assert isinstance(counts, Counts)
    assert torch.equal(counts.values, torch.arange(3))
    assert answered_again(Told({"rows": 3})) == Told({"rows": 3})
    step = answered_again(SecureSumAnswer(b"\x00masked"))
    assert isinstance(step, SecureSumAnswer)
    assert bytes(step.message) == b"\x00masked"


IDENTITY = Identity.create()
HEAD = sign(Head(run="0" * 32, size=0, root="1" * 64), IDENTITY, "coordinator")
ASKED = sign(Requested(run="0" * 32, round=1, purpose="update", requests=["2" * 64]), IDENTITY, "coordinator")
ATTESTATION = Attestation(
    run="0" * 32,
    settings="1" * 64,
    inputs="2" * 64,
    rounds=1,
    counted=[],
    params="3" * 64,
    model="4" * 64,
    figures="5" * 64,
    size=1,
    root="6" * 64,
)
RECEIPT = Receipt(head=HEAD, index=0, path=[], since=0, extension=[])
PAPERS: list[Paper] = [
    OpenLog(ASKED),
    GoBack(HEAD),
    Attest(ATTESTATION),
    GiveReceipts([Kept(signed=ASKED, receipt=RECEIPT)] * 2),
]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: type(paper).__name__)
def test_a_paper_of_a_signed_run_comes_back(paper: Paper) -> None:
    assert asked_again(paper) == paper


@pytest.mark.parametrize("asked", [None, ASKED], ids=["unsigned", "signed"])
def test_a_signed_request_comes_back_with_what_was_signed_of_it(asked: Signed | None) -> None:
    back = asked_again(SignedRequest(TRAIN, asked))
    assert isinstance(back, SignedRequest)
    assert back.asked == asked
    assert request_digest(back.request) == request_digest(TRAIN)


def test_a_signed_reply_comes_back_with_its_signature() -> None:
    reply = LocalUpdate({"delta": VALUES}, 1.0)
    back = answered_again(SignedAnswer(reply, ASKED, "ab" * 32))
    assert isinstance(back, SignedAnswer)
    assert isinstance(back.reply, LocalUpdate)
    assert (back.signed, back.salt) == (ASKED, "ab" * 32)
    assert update_digest(back.reply) == update_digest(reply)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ({"kind": "signed", "request": {"kind": "finish"}, "asked": None}, "of none"),
        ({"kind": "signed", "request": {"kind": "signed"}, "asked": None}, "of none"),
        ({"kind": "signed", "request": {"kind": "secure_sum", "message": 0, "of": None}, "asked": 0}, "cannot be read"),
        ({"kind": "open_log", "begun": 0}, "cannot be read"),
        ({"kind": "open_log", "begun": None}, "does not hold"),
        ({"kind": "go_back", "head": 1}, "no string of bytes"),
        ({"kind": "receipts", "kept": 0}, "cut short"),
        ({"kind": "attest"}, "lacks its attestation"),
    ],
)
def test_a_paper_that_makes_no_sense_is_refused(head: dict[str, object], why: str) -> None:
    tensors = [torch.tensor([123, 125, 32], dtype=torch.uint8), torch.ones(2, 2)]
    with pytest.raises(MessageError, match=why):
        messages.decode_question(with_head(head, tensors), LIMITS)


@pytest.mark.parametrize("salt", ["a", "A" * 64, "0" * 65, 3])
def test_a_salt_that_is_none_is_refused(salt: object) -> None:
    head = {"kind": "signed", "reply": {"kind": "failure", "reason": ""}, "signed": None, "salt": salt}
    with pytest.raises(MessageError, match="salt"):
        messages.decode_answer(with_head(head), LIMITS)


def test_receipts_of_more_bytes_than_are_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(papers, "MAX_RECEIPT_BYTES", 100)
    with pytest.raises(MessageError, match="at most 100 are read"):
        asked_again(PAPERS[3])


def test_a_reason_is_short_and_cannot_move_a_terminals_cursor() -> None:
    back = answered_again(Failure("\x1b[2J" + "x" * 10_000))
    assert isinstance(back, Failure)
    assert len(back.reason) <= messages.MAX_REASON
    assert "\x1b" not in back.reason


def test_the_bytes_are_a_safetensors_file() -> None:
    read = load(bytes(joined(pack({"kind": "x"}, [torch.arange(3.0), torch.tensor([1], dtype=torch.int64)]))))
    assert torch.equal(read["0"], torch.arange(3.0))


WHOLE = bytes(joined(messages.encode_question(TRAIN)))
UPDATES = [bytes(joined(messages.encode_answer(encoded_update(codec)))) for codec in CODECS.values()]
SIGNED = [
    bytes(joined(messages.encode_question(each))) for each in [SignedRequest(SecureSumStep(b"x"), ASKED), *PAPERS]
]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_by_name_or_make_a_message(data: st.DataObject) -> None:
    """Whatever comes, the only error is ours; a bit that flips in a value makes another value."""
    whole = data.draw(st.sampled_from([WHOLE, *UPDATES, *SIGNED]))
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))] + data.draw(st.binary(max_size=8)))
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged) - 1, 2000)))] = data.draw(st.integers(0, 255))
    for decode in (messages.decode_question, messages.decode_answer):
        try:
            message = decode(bytearray(damaged), LIMITS)
        except MessageError:
            continue
        if isinstance(message, LocalUpdate):
            try:
                message.decoded()
            except ParticipantError:
                continue


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(MessageError):
        messages.decode_answer(bytearray(noise), LIMITS)


def with_head(head: object, tensors: Sequence[torch.Tensor] = ()) -> bytearray:
    return joined(pack({"version": 1, **head} if isinstance(head, dict) else {}, list(tensors)))


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ({"kind": "pickle"}, "does not know"),
        ({"kind": "update"}, "lacks its averaged"),
        ({"kind": "counts", "values": 5}, "does not hold"),
        ({"kind": "counts", "values": -1}, "does not hold"),
        ({"kind": "failure", "reason": 3}, "no str"),
        ({"kind": "told", "facts": []}, "mapping"),
        ({"kind": "secure_sum", "message": 0}, "no string of bytes"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(head: object, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        messages.decode_answer(with_head(head, [torch.ones(2, 2)]), LIMITS)


def test_an_encoding_by_another_name_is_refused() -> None:
    tree = {"as": "tensors", "tensors": {"w": {"as": "os.system"}}}
    head = {"kind": "update", "averaged": {}, "summed": {}, "weight": "0x1p0", "metrics": {}, "counts": {}}
    with pytest.raises(MessageError, match="knows none such"):
        messages.decode_answer(with_head({**head, "encoded": {"delta": tree}}), LIMITS)


def test_a_few_bytes_cannot_stand_for_more_values_than_are_allowed() -> None:
    values = top_k.top_k(0.01)(torch.ones(1000))
    update = LocalUpdate({}, 1.0, encoded={"delta": EncodedTensors({str(n): values for n in range(3)})})
    data = joined(messages.encode_answer(update))
    assert messages.decode_answer(bytearray(data), Limits(values=3000))
    with pytest.raises(MessageError, match="stands for more than 2999"):
        messages.decode_answer(data, Limits(values=2999))


def test_more_bytes_than_are_allowed_are_refused() -> None:
    with pytest.raises(MessageError, match="at most 100 are allowed"):
        messages.decode_question(bytearray(WHOLE), Limits(message_bytes=100))


def test_another_version_is_named() -> None:
    with pytest.raises(MessageError, match="is of version 2, and this side speaks version 1"):
        messages.decode_answer(joined(pack({"version": 2, "kind": "told", "facts": {}}, [])), LIMITS)


def relaid(change: partial[None]) -> bytearray:
    """Return a message of two tensors whose description was changed."""
    data = joined(pack({}, [torch.ones(2), torch.zeros(2)]))
    size = int.from_bytes(data[:8], "little")
    described = json.loads(data[8 : 8 + size])
    change(described)
    header = json.dumps(described).encode()
    return bytearray(len(header).to_bytes(8, "little") + header + data[8 + size :])


def _set(entry: str, key: str, value: object, described: dict[str, dict[str, object]]) -> None:
    described[entry][key] = value


@pytest.mark.parametrize(
    ("entry", "key", "value"),
    [
        ("1", "data_offsets", [0, 8]),
        ("1", "data_offsets", [8, 17]),
        ("1", "data_offsets", [16, 24]),
        ("1", "data_offsets", [8]),
        ("1", "shape", [1 << 62, 1 << 62]),
        ("1", "shape", [-2]),
        ("1", "shape", [2.0]),
        ("1", "shape", [True, 2]),
        ("1", "dtype", "F128"),
        ("1", "dtype", []),
        ("__metadata__", "foedus", "{"),
        ("__metadata__", "foedus", "[" * 100_000),
        ("__metadata__", "foedus", '{"x": NaN}'),
        ("__metadata__", "foedus", "[]"),
    ],
)
def test_tensors_that_overlap_or_lie_outside_are_refused(entry: str, key: str, value: object) -> None:
    with pytest.raises(MessageError):
        unpack(relaid(partial(_set, entry, key, value)), LIMITS)


def test_booleans_that_are_none_are_refused() -> None:
    data = joined(pack({}, [torch.tensor([True])]))
    data[-1] = 2
    with pytest.raises(MessageError, match="neither true nor false"):
        unpack(data, LIMITS)
