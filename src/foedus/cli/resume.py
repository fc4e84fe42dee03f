"""`foedus resume`: a federation's run that was stopped, or failed, goes on."""

from __future__ import annotations

import typer

from foedus.cli.fetch import Kit, RunArgument
from foedus.cli.options import Debug


def resume(run: RunArgument, *, federation: Kit, debug: Debug = False) -> None:
    """Go on with a run that was stopped, or that too few took part in, from its last whole round.

    On one machine it is foedus run --resume FOLDER.
    """
    from foedus.api.results import resume_run

    place = resume_run(federation, run)
    typer.echo(f"{place} goes on when it is its turn: foedus status {federation} shows how it is")
