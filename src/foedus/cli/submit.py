"""`foedus submit`: hand a run to a federation's coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.options import Config, Debug, Name, Settings, load, overrides


def submit(
    config: Config,
    *,
    federation: Annotated[
        Path, typer.Option(metavar="KIT", help="The coordinator's kit, on its machine.", show_default=False)
    ],
    settings: Settings = None,
    name: Name = None,
    debug: Debug = False,
) -> None:
    """Hand a run to the coordinator, which plays it with the federation's organisations.

    Where CONFIG does not say how updates are summed, they are masked, so that nobody sees a single one.
    """
    changes = overrides(settings, name)
    resolved = load(config, changes)
    from foedus.api.submit import submit as hand_in

    place = hand_in(
        resolved, config, federation, masked_by_default=not any(c.startswith("secure_sum") for c in changes)
    )
    typer.echo(f"{place}: foedus status {federation} shows how it is")
