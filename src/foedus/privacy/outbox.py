"""A participant's finished replies, kept until no round can be redone: what was sent once is sent again as it was.

A reply of private training is a release. If a crash makes the coordinator ask again, training anew would release
a second one, with other noise. So a participant writes its reply down before it sends it, and answers the same
request by the same numbers. Each is one file, whole or absent, that its owner alone can read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from foedus.core.durable import sync
from foedus.core.errors import ParticipantError
from foedus.core.trees import ParamTree
from foedus.federation.messages import LocalUpdate, ParticipantId, Trees
from foedus.federation.protocols import Memory

_ROUND = re.compile(r"round-(\d{5,})-[0-9a-f]{64}\.safetensors")
_PLAIN, _SUMMED, _ENCODED, _MEMORY = "averaged", "summed", "encoded", "memory"


@dataclass(frozen=True)
class DecodedTree:
    """An encoded tree as it is decoded, kept in full. bytes_sent: what it took, encoded."""

    tree: ParamTree
    bytes_sent: int

    def byte_size(self) -> int:
        """Return what was sent."""
        return self.bytes_sent

    def decode(self) -> ParamTree:
        """Return the tree."""
        return self.tree


@dataclass(frozen=True)
class Outbox:
    """The folder of one run's finished replies; outside the checkpoints, which are the coordinator's."""

    folder: Path

    def holds(self, participant: ParticipantId, round_number: int, digest: str) -> bool:
        """Return whether the participant has a finished reply to this request."""
        return self._place(participant, round_number, digest).is_file()

    def has_round(self, round_number: int) -> bool:
        """Return whether anybody has a finished reply in this round: then it is being redone."""
        return any(number == round_number for number, _ in self._files())

    def put(
        self, participant: ParticipantId, round_number: int, digest: str, update: LocalUpdate, memory: Memory
    ) -> None:
        """Write a finished reply, and what the participant would remember; when it returns, the disk has them.

        Encoded trees are kept decoded: the same numbers, whatever the encoding.
        """
        place = self._place(participant, round_number, digest)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        encoded = {name: tree.decode() for name, tree in update.encoded.items()}
        groups = {_PLAIN: update.averaged, _SUMMED: update.summed, _ENCODED: encoded, _MEMORY: memory}
        tensors, index = _flat(groups)
        facts = {
            "trees": {group: list(trees) for group, trees in groups.items()},
            "tensors": index,
            "weight": update.weight,
            "metrics": dict(update.metrics),
            "counts": dict(update.counts),
            "bytes": {name: tree.byte_size() for name, tree in update.encoded.items()},
        }
        content = save(tensors, {"reply": json.dumps(facts)})
        draft = place.with_name(f".{place.name}.part")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
        for folder in (place.parent, self.folder, self.folder.parent):
            sync(folder)

    def get(
        self, participant: ParticipantId, round_number: int, digest: str, device: torch.device | None = None
    ) -> tuple[LocalUpdate, Memory] | None:
        """Return the finished reply to this request and what the participant would remember, or None.

        Raises: ParticipantError if it is there and cannot be read: then it must not be made anew either.
        """
        place = self._place(participant, round_number, digest)
        if not place.is_file():
            return None
        try:
            with safe_open(place, framework="pt", device=str(device or "cpu")) as file:
                facts: Mapping[str, Any] = json.loads(file.metadata()["reply"])
                found = _nested(facts, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - not a dict
            encoded = {name: DecodedTree(tree, facts["bytes"][name]) for name, tree in found[_ENCODED].items()}
            update = LocalUpdate(
                found[_PLAIN], facts["weight"], found[_SUMMED], facts["metrics"], encoded, facts["counts"]
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ParticipantError(
                "the reply that it finished before the crash is damaged, and training anew would release a second one"
            ) from error
        return update, found[_MEMORY]

    def forget(self, before: int) -> None:
        """Delete the replies of rounds before this one."""
        for number, path in self._files():
            if number < before:
                path.unlink()

    def clear(self) -> None:
        """Delete all replies."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _files(self) -> Iterator[tuple[int, Path]]:
        for path in self.folder.glob("*/*"):
            if match := _ROUND.fullmatch(path.name):
                yield int(match[1]), path

    def _place(self, participant: ParticipantId, round_number: int, digest: str) -> Path:
        # a participant's name may hold what a file's may not, or be too long
        name = hashlib.sha256(participant.encode()).hexdigest()[:32]
        return self.folder / name / f"round-{round_number:05d}-{digest}.safetensors"


def _flat(groups: Mapping[str, Trees]) -> tuple[dict[str, Tensor], list[tuple[str, str, str]]]:
    """Return all tensors by number, and where each belongs: names may hold any character."""
    tensors: dict[str, Tensor] = {}
    index: list[tuple[str, str, str]] = []
    storages = set()
    for group, trees in groups.items():
        for tree_name, tree in trees.items():
            for name, tensor in tree.items():
                kept = tensor.detach().cpu().contiguous()
                if kept.untyped_storage().data_ptr() in storages:  # the format takes no two tensors of one memory
                    kept = kept.clone()
                storages.add(kept.untyped_storage().data_ptr())
                tensors[str(len(index))] = kept
                index.append((group, tree_name, name))
    return tensors, index


def _nested(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Mapping[str, Trees]:
    found: dict[str, dict[str, dict[str, Tensor]]] = {
        group: {tree: {} for tree in facts["trees"][group]} for group in (_PLAIN, _SUMMED, _ENCODED, _MEMORY)
    }
    for number, (group, tree, name) in enumerate(facts["tensors"]):
        found[group][tree][name] = tensors[str(number)]
    return found
