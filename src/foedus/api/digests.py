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
from foedus.config.privacy import Plans
from foedus.config.sections import RunConfig
from foedus.config.side import Side
from foedus.federation.run_folder import RunFolder
from foedus.training.task import Example

# Of each tensor: enough to tell one checkpoint from another, and of a large model a moment's work.
VALUES_OF_A_TENSOR = 1000


def run_digest(side: Side, folder: RunFolder, plans: Plans | None, rows: Mapping[str, Any]) -> str:
    """Return a digest of the settings, of what is known of the rows, and of the weights that training starts from.

    Where the run writes, on which device, and who watches may change between an interruption and its resumption.
    plans: how records, or participants, are hidden. rows: JSON values.
    """
    settings = lasting_settings(side.config, folder)
    frozen = {name: p for name, p in side.workspace.model.named_parameters() if not p.requires_grad}
    # Plans follow from the settings, but by a search that another version may end elsewhere: noise that is correlated
    # over rounds must go on as it began.
    parts = [settings, rows, _weights(side.initial), _weights(frozen), repr(plans) if plans is not None else None]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def rows_digest(assembly: Assembly) -> Mapping[str, Any]:
    """Return a digest of every participant's rows, by split."""
    return {
        participant: {split: _rows(examples) for split, examples in splits.items()}
        for participant, splits in assembly.examples.items()
    }


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
