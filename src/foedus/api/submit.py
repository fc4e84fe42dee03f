"""Handing a run to a federation's coordinator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foedus.api.run_queue import RUNS
from foedus.config.loading import load_config
from foedus.config.problems import refuse_problems
from foedus.config.sections import RunConfig
from foedus.core.errors import LinkError
from foedus.engines.kits.kit import Kit, open_desk_kit
from foedus.federation.run_folder import RunFolder


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


def submit(config: RunConfig, federation: Path) -> str:
    """Hand a run to the federation's coordinator, which plays it when it is its turn; return where it is.

    federation: the coordinator's kit, on its machine, or a researcher's, on any that reaches it.
    Raises: ConfigError if it cannot be played between organisations; LinkError if the name is taken, or the coordinator
        is not reached.
    """
    kit = open_desk_kit(federation)
    if kit.role == "coordinator":
        return str(hand_in(config, kit, kit.name))
    from foedus.config.travelling import for_travel
    from foedus.engines.desk.client import DeskClient
    from foedus.engines.desk.requests import Done, Submit

    ready = for_travel(config)
    refuse_problems(ready)
    return DeskClient(kit).ask(Submit(config=ready.model_dump(mode="json")), Done).run


def hand_in(config: RunConfig, kit: Kit, by: str) -> Path:
    """Write a run into the coordinator's kit, and return its folder. by: who submits it, for the record.

    Raises: ConfigError if it cannot be played between organisations; LinkError if the name is taken.
    """
    from foedus.api.coordinate import enqueue

    folder = RunFolder(kit.folder / RUNS / config.name)
    if folder.config.exists():
        raise LinkError(f"there is a run {config.name} already; choose another --name")
    enqueue(config, folder, by, kit.league.organisations)
    return folder.path
