"""`foedus submit`: hand a run to a federation's coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.fetch import Kit
from foedus.cli.options import Config, Debug, Name, Settings, load, overrides


def submit(
    config: Config,
    *,
    federation: Kit,
    settings: Settings = None,
    name: Name = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Compare with what each organisation trains alone (evaluation.baselines)."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Hand a run to the coordinator, which plays it with the federation's organisations.

    Where CONFIG says nothing of secure_sum, updates are summed under masks, and no participant's own figures are shown.
    """
    hand_in(config, federation, [*overrides(settings, name), *(["evaluation.baselines=true"] if baselines else [])])


def hand_in(config: Path, federation: Path, changes: list[str]) -> None:
    """Hand a run to the coordinator, and say where it is."""
    load(config, changes)  # before the libraries are loaded, which takes seconds: a mistake in the file is told at once
    from foedus.api import submit as submitting

    place = submitting.submit(submitting.as_submitted(config, changes), federation)
    typer.echo(f"{place}: foedus status {federation} shows how it is")
