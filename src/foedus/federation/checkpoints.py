"""Checkpoints: the state after a whole round, written so that a crash leaves the last one or the new one.

A checkpoint is a folder, `checkpoints/round-00003/`, with `server.safetensors`, `participants/` (what
the participants remember, in the embedded engine) and `state.json`. It is written beside its place
and renamed; readers never see half of one. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from foedus.core.durable import sync
from foedus.core.errors import RunFolderError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Trees
from foedus.federation.protocols import Engine, ServerState

_NAME = re.compile(r"round-(\d{5,})")


def save_trees(path: Path, trees: Trees) -> None:
    """Write named trees to a safetensors file and wait until the disk has it.

    Raises: OSError if it cannot be written, a full disk among others.
    """
    flat: dict[str, Tensor] = {}
    storages = set()
    for tree_name, tree in trees.items():
        for name, tensor in tree.items():
            kept = tensor.detach().cpu().contiguous()
            if kept.untyped_storage().data_ptr() in storages:  # the format takes no two tensors of one memory
                kept = kept.clone()
            storages.add(kept.untyped_storage().data_ptr())
            flat[f"{tree_name}/{name}"] = kept
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(flat, path)
    except SafetensorError as error:  # it tells the system's error in its text alone
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    sync(path)


def load_trees(path: Path, device: torch.device | None = None) -> Trees:
    """Read named trees from a safetensors file, onto the device (the CPU unless told).

    Raises: RunFolderError if the file is missing or damaged.
    """
    try:
        flat: Mapping[str, Tensor] = load_file(path, device=str(device or "cpu"))
    except (OSError, SafetensorError) as error:
        raise RunFolderError(f"{path} cannot be read ({type(error).__name__}); it is missing or damaged") from error
    trees: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        tree, _, name = key.partition("/")
        trees.setdefault(tree, {})[name] = tensor
    return trees


def save_checkpoint(folder: Path, state: ServerState, engine: Engine, facts: Mapping[str, Any], keep: int) -> Path:
    """Write the state after `state.round` rounds and delete all but the `keep` newest checkpoints.

    facts: what else resuming needs, as JSON values.
    """
    place = folder / f"round-{state.round:05d}"
    draft = folder / f".{place.name}.part"
    remove_leftovers(folder)
    draft.mkdir(parents=True)
    memory = {f"memory.{name}": tree for name, tree in state.memory.items()}
    save_trees(draft / "server.safetensors", {"params": state.params, **memory})
    engine.save_memories(draft / "participants")
    (draft / "state.json").write_text(
        json.dumps({"round": state.round, "counted": list(state.counted), **facts}, indent=2)
    )
    sync(draft / "state.json")
    sync(draft)
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    sync(folder)
    for old in checkpoints(folder)[:-keep]:
        old.rename(folder / f".{old.name}.old")  # a crash while it is deleted leaves no half of one
    remove_leftovers(folder)
    return place


def remove_leftovers(folder: Path) -> None:
    """Delete what a crash left of checkpoints that were being written or deleted."""
    for path in folder.glob(".round-*"):
        shutil.rmtree(path)


def checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints in a folder, oldest first."""
    found = [path for path in folder.glob("round-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("round-")))


def load_checkpoint(
    place: Path, engine: Engine, device: torch.device | None = None
) -> tuple[ServerState, Mapping[str, Any]]:
    """Read a checkpoint, give the participants their memories back, and return the state and its facts.

    Raises: RunFolderError if a file is missing or damaged.
    """
    try:
        facts = json.loads((place / "state.json").read_text())
        rounds_over, counted = int(facts["round"]), tuple(facts["counted"])
        read = load_trees(place / "server.safetensors", device)
        params: ParamTree = read["params"]
        engine.load_memories(place / "participants")
    except (OSError, ValueError, KeyError, TypeError, RunFolderError) as error:
        raise RunFolderError(
            f"the checkpoint {place} is damaged ({error}); delete that folder to go on from the round before it"
        ) from error
    memory = {name.removeprefix("memory."): tree for name, tree in read.items() if name.startswith("memory.")}
    return ServerState(rounds_over, params, memory, counted), facts
