"""`foedus compare`: the federated run beside pooled training and each site alone."""

from __future__ import annotations

import json as json_format
import sys
from typing import Annotated

import typer

from foedus.cli.options import Config, Debug, Json, Name, Output, Overwrite, Quiet, Settings, load, overrides, terminal


def compare(
    config: Config,
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat everything with this many seeds.")] = 1,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted comparison.")] = False,
    name: Name = None,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train federated, on pooled rows, and each site alone, and show the results side by side."""
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
