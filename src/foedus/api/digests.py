"""What a checkpoint must agree with before a run goes on from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from torch import Tensor

from foedus.config.assemble import Assembly
from foedus.config.dump import dump_config, relocate
from foedus.config.sections import RunConfig
from foedus.federation.run_folder import RunFolder
from foedus.training.task import Example

# Of each tensor: enough to tell one checkpoint from another, and of a large model a moment's work.
VALUES_OF_A_TENSOR = 1000


def run_digest(assembly: Assembly, folder: RunFolder) -> str:
    """Return a digest of the settings, of every participant's rows, and of the weights that training starts from.

    Where the run writes, on which device, and who watches may change between an interruption and its resumption.
    """
    settings = lasting_settings(assembly.config, folder)
    rows = {
        participant: {split: _rows(examples) for split, examples in splits.items()}
        for participant, splits in assembly.examples.items()
    }
    frozen = {name: p for name, p in assembly.workspace.model.named_parameters() if not p.requires_grad}
    # Plans follow from the settings, but by a search that another version may end elsewhere: noise that is correlated
    # over rounds must go on as it began.
    plans = repr(assembly.plans) if assembly.plans is not None else None
    parts = [settings, rows, _weights(assembly.initial), _weights(frozen), plans]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def lasting_settings(config: RunConfig, folder: RunFolder) -> Mapping[str, Any]:
    """Return the settings that may not change between an interruption and its resumption, as plain values."""
    described = yaml.safe_load(dump_config(relocate(config, folder.path)))
    return {key: value for key, value in described.items() if key not in {"output", "name", "device"}}


def _rows(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        for name, tensor in example.items():
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _weights(tree: Mapping[str, Tensor]) -> Mapping[str, Any]:
    return {name: [list(tensor.shape), _values(tensor)] for name, tensor in tree.items()}


def _values(tensor: Tensor) -> str:
    flat = tensor.detach().flatten()
    sample = flat[:: max(1, len(flat) // VALUES_OF_A_TENSOR)]
    return hashlib.sha256(sample.cpu().numpy().tobytes()).hexdigest()
