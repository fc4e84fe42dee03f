"""Handing a run to a federation's coordinator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foedus.api.coordinate import enqueue
from foedus.api.serve import refuse_taken
from foedus.config.loading import load_config
from foedus.config.sections import RunConfig
from foedus.engines.kits.kit import open_kit


def as_submitted(file: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the run of a file as `foedus submit` takes it: summed under masks, unless something is said of that.

    Figures of single participants are then not asked for either, unless they are.
    Raises: ConfigError that lists every problem.
    """
    config = load_config(file, overrides)
    if "secure_sum" in config.model_fields_set:
        return config
    added = ["secure_sum=masks"]
    if "per_site" not in config.evaluation.model_fields_set:
        added.append("evaluation.per_site=false")
    return load_config(file, [*overrides, *added])


def submit(config: RunConfig, federation: Path) -> Path:
    """Write the run into the coordinator's kit, which plays it when it is its turn; return its folder.

    Raises: ConfigError if it cannot be played between organisations; LinkError if the name is taken.
    """
    kit = open_kit(federation, "coordinator")
    folder = refuse_taken(kit, config.name)
    enqueue(config, folder)
    return folder.path
