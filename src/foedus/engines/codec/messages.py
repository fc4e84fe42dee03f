"""Every request and reply of a run as bytes, and back.

The decoder makes values of the types in federation.messages and federation.membership and of no others; whether what
they say is allowed is for those to judge who asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from foedus.core.errors import MessageError
from foedus.engines.codec.encoded import read_encoded, write_encoded
from foedus.engines.codec.fields import Incoming, Outgoing
from foedus.engines.codec.papers import read_paper, read_salt, read_signed, write_paper, write_signed
from foedus.engines.codec.tensors import Limits, Piece, pack, unpack
from foedus.federation.membership import Agree, Begin, Finish, Notice, Recall, Settle, TellCost, Told
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
    Reply,
    Request,
    SecureSumAnswer,
    SecureSumStep,
    Summable,
    Train,
    TrainAlone,
)
from foedus.privacy.signing.envelopes import Paper, SignedAnswer, SignedRequest

VERSION = 1
MAX_REASON = 2000  # characters of a failure's reason: it goes into records and onto screens

Question = Request | Notice | SignedRequest | Paper
Answer = Reply | Told | SignedAnswer


def encode_question(question: Question) -> list[Piece]:
    """Return the pieces of a request, or of a notice.

    Raises: MessageError if it holds what cannot travel.
    """
    out = Outgoing()
    return _packed(_question(question, out), out)


def encode_answer(answer: Answer) -> list[Piece]:
    """Return the pieces of a reply.

    Raises: MessageError if it holds what cannot travel.
    """
    out = Outgoing()
    return _packed(_answer(answer, out), out)


def decode_question(data: bytearray, limits: Limits) -> Question:
    """Return the request, or the notice, that bytes stand for; its tensors lie in them.

    Raises: MessageError if there is none.
    """
    return _read_question(_opened(data, limits))


def decode_answer(data: bytearray, limits: Limits) -> Answer:
    """Return the reply that bytes stand for; its tensors lie in them.

    Raises: MessageError if there is none.
    """
    return _read_answer(_opened(data, limits))


def _packed(head: Mapping[str, Any], out: Outgoing) -> list[Piece]:
    return pack({"version": VERSION, **head}, out.tensors)


def _opened(data: bytearray, limits: Limits) -> Incoming:
    given = Incoming(*unpack(data, limits), limits)
    if (version := given.whole("version")) != VERSION:
        raise MessageError(
            f"a message is of version {version}, and this side speaks version {VERSION}; install the same foedus "
            "everywhere"
        )
    return given


def _question(question: Question, out: Outgoing) -> dict[str, Any]:
    match question:
        case Train() | DryRound() | Evaluate() | CountPairs():
            return _work_head(question, out)
        case TrainAlone(clock):
            return {"kind": "train_alone", "clock": [clock.round, clock.rounds]}
        case SecureSumStep(message, of):
            work = None if of is None else _work_head(of, out)
            return {"kind": "secure_sum", "message": out.raw(message), "of": work}
        case Begin(run, config):
            return {"kind": "begin", "run": run, "config": config}
        case Agree(ground):
            return {"kind": "agree", "ground": dict(ground)}
        case Settle(number, counted):
            return {"kind": "settle", "round": number, "counted": counted}
        case Recall(number):
            return {"kind": "recall", "round": number}
        case TellCost():
            return {"kind": "tell_cost"}
        case Finish():
            return {"kind": "finish"}
        case SignedRequest(request, asked):
            return {"kind": "signed", "request": _question(request, out), "asked": write_signed(asked, out)}
        case _:
            return write_paper(question, out)


def _work_head(work: Summable, out: Outgoing) -> dict[str, Any]:
    match work:
        case Train(broadcast) | DryRound(broadcast):
            return {
                "kind": "train" if isinstance(work, Train) else "dry_round",
                "clock": [broadcast.clock.round, broadcast.clock.rounds],
                "trees": out.trees(broadcast.trees),
                "encoded": {name: write_encoded(tree, out) for name, tree in broadcast.encoded.items()},
            }
        case Evaluate(params, split, number, tell, compare):
            asked = {"split": split, "round": number, "tell": tell, "compare": compare}
            return {"kind": "evaluate", "params": out.tree(params), **asked}
        case CountPairs(merges):
            return {"kind": "count_pairs", "merges": out.tensor(torch.tensor(list(merges)).reshape(-1, 2).long())}


def _read_question(given: Incoming) -> Question:
    match given.text("kind"):
        case "train" | "dry_round" | "evaluate" | "count_pairs":
            return _summable(given)
        case "train_alone":
            return TrainAlone(_clock(given))
        case "secure_sum":
            return SecureSumStep(bytes(given.view("message")), _work(given))
        case "begin":
            return Begin(given.text("run"), given.text("config"))
        case "agree":
            return Agree(given.within(given.get("ground")).head)
        case "settle":
            return Settle(given.whole("round"), given.truth("counted"))
        case "recall":
            return Recall(given.whole("round"))
        case "tell_cost" | "finish" as kind:
            return Finish() if kind == "finish" else TellCost()
        case "signed":
            return SignedRequest(_signed_request(given), read_signed(given, "asked"))
        case _:
            return read_paper(given)


def _signed_request(given: Incoming) -> Request:
    inner = given.within(given.get("request"))
    if inner.text("kind") not in {"train", "evaluate", "secure_sum"}:
        raise MessageError("a signed request is of training, evaluation or a secure sum, and this one of none")
    found = _read_question(inner)
    assert isinstance(found, Train | Evaluate | SecureSumStep), "it is of these kinds"
    return found


def _clock(given: Incoming) -> Clock:
    clock = given.get("clock")
    if not (isinstance(clock, list) and len(clock) == 2 and all(type(n) is int and 0 <= n < 1 << 31 for n in clock)):
        raise MessageError("a request's clock is none")
    return Clock(*clock)


def _broadcast(given: Incoming) -> Broadcast:
    clock = _clock(given)
    trees, encoded = given.trees("trees"), given.each("encoded", read_encoded)
    if trees.keys() & encoded.keys():
        raise MessageError("a request holds a tree twice")
    return Broadcast(trees, clock, encoded)


def _evaluate(given: Incoming) -> Evaluate:
    tell, compare = given.truth("tell"), given.truth("compare")
    return Evaluate(given.tree("params"), given.text("split"), given.whole("round"), tell, compare)


def _work(given: Incoming) -> Summable | None:
    if given.get("of") is None:
        return None
    return _summable(given.within(given.get("of")))


def _summable(given: Incoming) -> Summable:
    match given.text("kind"):
        case "train":
            return Train(_broadcast(given))
        case "dry_round":
            return DryRound(_broadcast(given))
        case "count_pairs":
            return CountPairs(_merges(given))
        case "evaluate":
            return _evaluate(given)
        case _:
            raise MessageError(
                "a secure sum is of training, a dry round, evaluation or counts, and this request of none"
            )


def _answer(answer: Answer, out: Outgoing) -> dict[str, Any]:
    match answer:
        case LocalUpdate():
            return {
                "kind": "update",
                "averaged": out.trees(answer.averaged),
                "summed": out.trees(answer.summed),
                "weight": float(answer.weight).hex(),
                "metrics": {name: float(value).hex() for name, value in answer.metrics.items()},
                "counts": {name: int(count) for name, count in answer.counts.items()},
                "encoded": {name: write_encoded(tree, out) for name, tree in answer.encoded.items()},
            }
        case Evaluation(sums):
            return {"kind": "evaluation", "sums": out.tree(sums)}
        case Counts(values):
            return {"kind": "counts", "values": out.tensor(values)}
        case SecureSumAnswer(message):
            return {"kind": "secure_sum", "message": out.raw(message)}
        case Failure(reason):
            return {"kind": "failure", "reason": reason[:MAX_REASON]}
        case Told(facts):
            return {"kind": "told", "facts": dict(facts)}
        case SignedAnswer(reply, signed, salt):
            return {"kind": "signed", "reply": _answer(reply, out), "signed": write_signed(signed, out), "salt": salt}


def _read_answer(given: Incoming) -> Answer:
    match given.text("kind"):
        case "update":
            return LocalUpdate(
                averaged=given.trees("averaged"),
                weight=given.real("weight"),
                summed=given.trees("summed"),
                metrics=given.reals("metrics"),
                encoded=given.each("encoded", read_encoded),
                counts=given.wholes("counts"),
            )
        case "evaluation":
            return Evaluation(given.tree("sums"))
        case "counts":
            return Counts(given.tensor("values"))
        case "secure_sum":
            return SecureSumAnswer(given.view("message"))
        case "failure":
            return Failure(_printable(given.text("reason")))
        case "told":
            return Told(given.within(given.get("facts")).head)
        case "signed":
            return SignedAnswer(_signed_reply(given), read_signed(given, "signed"), read_salt(given))
        case other:
            raise MessageError(f"a reply is of kind {other[:40]!r}, which this version does not know")


def _signed_reply(given: Incoming) -> Reply:
    inner = given.within(given.get("reply"))
    if inner.text("kind") not in {"update", "evaluation", "secure_sum", "failure"}:
        raise MessageError("a signed reply is an update, an evaluation or of a secure sum, and this one is none")
    found = _read_answer(inner)
    assert isinstance(found, LocalUpdate | Evaluation | SecureSumAnswer | Failure), "it is of these kinds"
    return found


def _merges(given: Incoming) -> list[tuple[int, int]]:
    tensor = given.tensor("merges")
    if tensor.dtype != torch.int64 or tensor.dim() != 2 or tensor.shape[1] != 2:
        raise MessageError("a request's merges are no pairs")
    if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < 1 << 31:
        raise MessageError("a request's merges name units that there cannot be")
    return [(int(left), int(right)) for left, right in tensor.tolist()]


def _printable(reason: str) -> str:
    """Return a reason that does nothing to a terminal."""
    return "".join(c if c.isprintable() else " " for c in reason[:MAX_REASON])
