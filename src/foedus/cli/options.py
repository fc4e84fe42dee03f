"""Arguments that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foedus.cli.failures import remember_debugging

if TYPE_CHECKING:
    from rich.console import Console

    from foedus.config.sections import RunConfig

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The run's YAML file.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Put a value over the file's, such as local.learning_rate=1e-3. Can be given several times.",
        show_default=False,
    ),
]
Name = Annotated[str | None, typer.Option(help="The run folder's name, in place of the file's.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(help="The folder that run folders are made in, in place of the file's.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for machines, one object a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Write nothing but errors.")]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show where in the program an error arises.", callback=remember_debugging),
]


def overrides(settings: list[str] | None, name: str | None = None, output: Path | None = None) -> list[str]:
    """Return all overrides in the form KEY=VALUE; --output starts from the current folder."""
    found = list(settings or [])
    if name is not None:
        found.append(f"name={_quoted(name)}")
    if output is not None:
        found.append(f"output.folder={_quoted(str(output.absolute()))}")
    return found


def load(config: Path, changes: list[str]) -> RunConfig:
    """Return what the file and the overrides ask for."""
    from foedus.config.loading import load_config

    return load_config(config, changes)


def terminal() -> Console:
    """Return where tables are printed: as wide as the terminal, and wide enough for them elsewhere."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def _quoted(text: str) -> str:
    """Return text as a YAML value that is sure to be text."""
    return "'" + text.replace("'", "''") + "'"
