"""`foedus status`: what a federation does now, once."""

from __future__ import annotations

import json as json_format
from pathlib import Path

import typer

from foedus.cli.options import Debug, Json, terminal
from foedus.cli.watch import Place, Run, shown


def status(folder: Place = Path(), *, run: Run = None, json: Json = False, debug: Debug = False) -> None:
    """Show who takes part, the round and refusals, once."""
    from foedus.federation.state import read_state
    from foedus.reporting.live import chosen_run, values

    place = chosen_run(folder, run)
    if json:
        typer.echo(json_format.dumps(values(place)))
        return
    terminal().print(shown(read_state(place)))
