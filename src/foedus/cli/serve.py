"""`foedus coordinator` and `foedus participant`: the two sides of a federation, in the foreground."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from foedus.cli.options import Debug, Json, Quiet, Settings, overrides
from foedus.engines.link.courier import PATIENCE_S

Kit = Annotated[Path, typer.Argument(metavar="KIT", help="The kit's folder.", show_default=False)]


def coordinator(
    kit: Kit,
    *,
    once: Annotated[bool, typer.Option("--once", help="End when no run is left.")] = False,
    patience: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long a participant may be out of reach before it is left out."),
    ] = PATIENCE_S,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Keep the federation's link up, and play the runs that are handed in by foedus submit."""
    from foedus.api.serve import serve_coordinator
    from foedus.reporting.progress import progress_for

    _end_on_termination()
    with progress_for(sys.stdout, json=json, quiet=quiet) as observe:
        serve_coordinator(kit, observe=observe, tell=_tell(quiet=quiet), until_idle=once, patience_s=patience)


def participant(
    kit: Kit,
    *,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What it brings and allows.", show_default="KIT's own")
    ] = None,
    dry_run: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG", help="Print what would leave in this run, and end; nothing is sent.", show_default=False
        ),
    ] = None,
    settings: Settings = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Take part in the runs that this organisation's own file allows, until stopped."""
    if dry_run is not None:
        from foedus.cli.dry_run import print_dry_run

        print_dry_run(kit, data, dry_run, overrides(settings), json=json)
        return
    from foedus.api.serve import serve_participant

    _end_on_termination()
    serve_participant(kit, data, tell=_tell(quiet=quiet))


def _tell(*, quiet: bool) -> Any:
    def tell(text: str) -> None:
        if not quiet:
            typer.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)

    return tell


def _end_on_termination() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that what it started ends too."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
