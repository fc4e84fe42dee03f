"""Digests of what travels and of what is kept, so that a few bytes stand for a large tree.

A tree's digest is a Merkle root over its tensors in the order of their names. Its sender and its
receiver compute it from the values, whatever their order or the way in which they travelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from foedus.core.errors import SignatureError
from foedus.core.trees import ParamTree
from foedus.federation.messages import (
    Broadcast,
    CountPairs,
    DryRound,
    Evaluate,
    LocalUpdate,
    Request,
    SecureSumStep,
    Sums,
    Train,
    TrainAlone,
    Trees,
)
from foedus.privacy.signing.canonical import canonical, digest
from foedus.privacy.signing.merkle import LEAF, MerkleTree

_CHUNK = 1 << 20


def tree_digest(tree: ParamTree) -> bytes:
    """Return the digest of a tree: of names, shapes, types and the bytes of the values (little-endian)."""
    return MerkleTree(_tensor_hash(name, tree[name]) for name in sorted(tree)).root()


def _tensor_hash(name: str, tensor: Tensor) -> bytes:
    described = canonical(
        {"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
    )
    hashed = hashlib.sha256(LEAF + described + b"\x00")
    hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.digest()


def update_digest(update: LocalUpdate) -> bytes:
    """Return the digest of all that an update says: its trees, weight, metrics and counts.

    Trees that travel in fewer bytes count as what they stand for. It can be shown to those who must
    not learn the weight or the metrics: without the trees nobody can try out values.
    Raises: ParticipantError if an encoded tree cannot be decoded.
    """
    whole = update.decoded()
    return digest(
        "update",
        {
            "averaged": _digests(whole.averaged),
            "summed": _digests(whole.summed),
            "weight": _exact(whole.weight),
            "metrics": {name: _exact(value) for name, value in whole.metrics.items()},
            "counts": {name: int(count) for name, count in whole.counts.items()},
        },
    )


def evaluation_digest(sums: Sums, salt: str) -> bytes:
    """Return the digest of a participant's evaluation.

    salt: 64 hexadecimal digits drawn at random. There are few figures that can be, and whoever does not know the salt
    cannot try them out.
    """
    return digest("evaluation", {"salt": salt, "sums": tree_digest(sums).hex()})


def sum_digest(averaged: Trees, summed: Trees, weight: float) -> bytes:
    """Return the digest of what updates add up to: weighted means, plain sums, and the sum of weights."""
    return digest("sum", {"averaged": _digests(averaged), "summed": _digests(summed), "weight": _exact(weight)})


def request_digest(request: Request) -> bytes:
    """Return the digest of what participants are asked, and of every value that they are sent with it.

    Raises: ParticipantError if an encoded tree cannot be decoded.
    """
    match request:
        case Train():
            return digest("train", _broadcast(request.broadcast.decoded()))
        case DryRound():
            return digest("dry_round", _broadcast(request.broadcast.decoded()))
        case Evaluate():
            asked = {
                "split": request.split,
                "round": request.round,
                "tell": request.tell,
                "compare": request.compare,
            }
            return digest("evaluate", {"params": tree_digest(request.params).hex(), **asked})
        case TrainAlone():
            return digest("train_alone", {"round": request.clock.round, "rounds": request.clock.rounds})
        case CountPairs():
            return digest("count_pairs", {"merges": [list(merge) for merge in request.merges]})
        case SecureSumStep():
            work = request_digest(request.of).hex() if request.of is not None else None
            return digest("secure_sum", {"message": hashlib.sha256(request.message).hexdigest(), "of": work})


def _broadcast(sent: Broadcast) -> Mapping[str, object]:
    return {"trees": _digests(sent.trees), "round": sent.clock.round, "rounds": sent.clock.rounds}


def _digests(trees: Trees) -> Mapping[str, str]:
    return {name: tree_digest(tree).hex() for name, tree in trees.items()}


def _exact(number: float) -> str:
    """Return a float as text that every language writes alike, and that has NaN and infinity."""
    return float(number).hex()


def folder_digest(files: Iterable[Path], root: Path) -> bytes:
    """Return the digest of files: of their places below the root and their bytes.

    Raises: SignatureError if one cannot be read.
    """
    placed = sorted((path.relative_to(root).as_posix(), path) for path in files)
    return digest("files", [[place, file_digest(path).hex()] for place, path in placed])


def file_digest(path: Path) -> bytes:
    """Return the SHA-256 digest of a file's bytes.

    Raises: SignatureError if it cannot be read.
    """
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
    except OSError as error:
        raise SignatureError(f"{path} cannot be read to compute its digest: {error.strerror}") from error
    return hashed.digest()
