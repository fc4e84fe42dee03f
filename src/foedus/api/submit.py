"""Handing a run to a federation's coordinator."""

from __future__ import annotations

from pathlib import Path

from foedus.api.coordinate import enqueue
from foedus.api.serve import refuse_taken
from foedus.config import yaml_text
from foedus.config.loading import load_config
from foedus.config.sections import RunConfig
from foedus.engines.kits.kit import open_kit


def submit(config: RunConfig, file: Path, federation: Path, *, masked_by_default: bool = True) -> Path:
    """Write the run into the coordinator's kit, which plays it when it is its turn; return its folder.

    masked_by_default: sum under masks where the file does not say how.
    Raises: ConfigError if it cannot be played between organisations; LinkError if the name is taken.
    """
    kit = open_kit(federation, "coordinator")
    if masked_by_default and "secure_sum" not in (
        yaml_text.parse(file.read_text(encoding="utf-8"), str(file)).value or {}
    ):
        config = load_config({**config.model_dump(mode="json"), "secure_sum": {"kind": "masks"}}).rooted(config.root)
    folder = refuse_taken(kit, config.name)
    enqueue(config, folder)
    return folder.path
