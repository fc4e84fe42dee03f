"""`foedus status`: what a federation does now, once."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.options import Debug, Json, terminal
from foedus.cli.watch import Place, Run, shown


def status(
    folder: Place = Path(),
    *,
    run: Run = None,
    every: Annotated[bool, typer.Option("--all", help="List all runs of a kit, one a line.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show who takes part, the round and refusals, once."""
    if every:
        _list(folder, json=json)
        return
    from foedus.api.run_source import run_source
    from foedus.federation.orders import read_orders
    from foedus.federation.state import read_state
    from foedus.reporting.live import values

    with run_source(folder, run) as source:
        place = source()
        if json:
            typer.echo(json_format.dumps(values(place)))
            return
        terminal().print(shown(read_state(place), read_orders(place)))


def _list(folder: Path, *, json: bool) -> None:
    from foedus.api.results import runs_of_federation

    runs = runs_of_federation(folder)
    if json:
        typer.echo(json_format.dumps([entry.model_dump() for entry in runs]))
        return
    for entry in runs:
        place = f"round {entry.round} of {entry.rounds}, " if entry.rounds else ""
        by = f", submitted by {entry.by}" if entry.by else ""
        typer.echo(f"{entry.run}: {place}{entry.phase}{by}")
