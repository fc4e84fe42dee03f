"""`foedus fetch`: a federation's results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.options import Debug

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's name.", show_default=False)]
Kit = Annotated[
    Path,
    typer.Option(
        "--federation",
        metavar="KIT",
        help="The coordinator's kit, on its machine, or a researcher's.",
        show_default=False,
    ),
]


def fetch(
    run: RunArgument,
    *,
    federation: Kit,
    to: Annotated[Path | None, typer.Option(help="The new folder.", show_default="RUN, here")] = None,
    debug: Debug = False,
) -> None:
    """Copy a run's model, report and records out of the coordinator's kit."""
    from foedus.api.results import fetch_run

    place = fetch_run(federation, run, to or Path(run))
    for name in ("report.html", "model"):
        if (place / name).exists():
            typer.echo(f"{name.removesuffix('.html'):<7} {place / name}")
    if not (place / "model").exists():
        typer.echo(f"the run ended before it had a model; its records are in {place}")
