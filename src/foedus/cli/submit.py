"""`foedus submit`: hand a run to a federation's coordinator."""

from __future__ import annotations

import typer

from foedus.cli.fetch import Kit
from foedus.cli.options import Config, Debug, Name, Settings, load, overrides


def submit(
    config: Config,
    *,
    federation: Kit,
    settings: Settings = None,
    name: Name = None,
    debug: Debug = False,
) -> None:
    """Hand a run to the coordinator, which plays it with the federation's organisations.

    Where CONFIG says nothing of secure_sum, updates are summed under masks, and no participant's own figures are shown.
    """
    changes = overrides(settings, name)
    load(config, changes)  # before the libraries are loaded, which takes seconds: a mistake in the file is told at once
    from foedus.api.submit import as_submitted
    from foedus.api.submit import submit as hand_in

    place = hand_in(as_submitted(config, changes), federation)
    typer.echo(f"{place}: foedus status {federation} shows how it is")
