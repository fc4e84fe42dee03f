"""`foedus compare`: the federated run beside pooled training and each site alone."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.options import Config, Debug, Json, Name, Output, Overwrite, Quiet, Settings, load, overrides, terminal
from foedus.cli.submit import hand_in


def compare(
    config: Config,
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat everything with this many seeds.")] = 1,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted comparison.")] = False,
    name: Name = None,
    output: Output = None,
    overwrite: Overwrite = False,
    federation: Annotated[
        Path | None,
        typer.Option(
            metavar="KIT",
            help="The coordinator's kit, or a researcher's: hand the run in, with what each organisation trains alone "
            "beside it.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train federated, on pooled rows, and each site alone, and show the results side by side.

    With --federation it is played between organisations, where no rows can be pooled: the run beside each one alone.
    """
    if federation is not None:
        if seeds > 1 or resume or overwrite or output is not None:
            raise typer.BadParameter(
                "--seeds, --resume, --overwrite and --output do not go with --federation: hand in a run for each seed, "
                "with --set seed=N and a --name of its own"
            )
        hand_in(config, federation, [*overrides(settings, name), "evaluation.baselines=true"])
        return
    resolved = load(config, overrides(settings, name, output))
    from rich.table import Table

    import foedus
    from foedus.reporting.comparing import arms_table, comparison_verdict
    from foedus.reporting.progress import progress_for
    from foedus.reporting.records import read_comparison

    with progress_for(sys.stdout, json=json, quiet=quiet) as observe:
        result = foedus.compare(
            resolved,
            seeds=seeds,
            overwrite=overwrite,
            go_on=resume,
            observe=observe,
        )
    if json:
        typer.echo(json_format.dumps({"event": "compared", "folder": str(result.folder), **result.table}))
        return
    if quiet:
        return
    comparison = read_comparison(result.folder)
    content = arms_table(comparison)
    table = Table(title=content.caption, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for index, column in enumerate(content.head):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in content.rows:
        table.add_row(*row)
    console = terminal()
    console.print()
    console.print(table)
    console.print()
    console.print(comparison_verdict(comparison), markup=False, highlight=False)
    console.print(f"report  {result.report}", markup=False, highlight=False, soft_wrap=True)
