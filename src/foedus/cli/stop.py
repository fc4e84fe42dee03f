"""`foedus stop`: a federation's run ends early."""

from __future__ import annotations

import typer

from foedus.cli.fetch import Kit, RunArgument
from foedus.cli.options import Debug


def stop(run: RunArgument, *, federation: Kit, debug: Debug = False) -> None:
    """End a run early; the rounds so far stay recorded."""
    from foedus.api.results import stop_run

    place = stop_run(federation, run)
    typer.echo(f"asked; the coordinator ends it at the next step, and {place} keeps its rounds")
