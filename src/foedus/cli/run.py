"""`foedus run`: train, and leave a model and a report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.failures import INTERRUPTED
from foedus.cli.options import Debug, Json, Name, Output, Overwrite, Quiet, Settings, load, overrides


def run(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="The run's YAML file.", show_default=False)
    ] = None,
    *,
    settings: Settings = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with an interrupted run, in this folder.", show_default=False),
    ] = None,
    name: Name = None,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a model across the participants, and write it with a report into a run folder."""
    changes = overrides(settings, name, output)
    if resume is not None and (config is not None or changes or overwrite):
        raise typer.BadParameter(
            "a run goes on as it began: leave out CONFIG, --set, --name, --output and --overwrite",
            param_hint="--resume",
        )
    if resume is None and config is None:
        raise typer.BadParameter("name the run's YAML file, or go on with a run by --resume RUN", param_hint="CONFIG")
    # before the libraries are loaded, which takes seconds: a mistake in the file is told at once
    resolved = load(config, changes) if config is not None else None
    if not (json or quiet):
        typer.echo("reading the data and loading the model …", err=True)
    import foedus
    from foedus.reporting.progress import progress_for

    with progress_for(sys.stdout, json=json, quiet=quiet) as observe:
        if resolved is not None:
            with _told_how_to_go_on(resolved.run_folder):
                foedus.run(resolved, overwrite=overwrite, observe=observe, debug=debug)
        elif resume is not None:
            with _told_how_to_go_on(resume):
                foedus.resume(resume, observe=observe, debug=debug)


@contextmanager
def _told_how_to_go_on(folder: Path) -> Iterator[None]:
    """Say on Ctrl-C how to go on with the run of this folder."""
    try:
        yield
    except KeyboardInterrupt:
        if not (folder / "config.yaml").is_file():
            raise
        place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        typer.echo(f"stopped; go on with: foedus run --resume {shlex.quote(str(place))}", err=True)
        raise typer.Exit(INTERRUPTED) from None
