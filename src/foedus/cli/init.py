"""`foedus init`: a commented YAML file for the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.options import Debug


def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = Path("foedus.yaml"),
    *,
    task: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What the model learns to do: text_classification, causal_lm, masked_lm or sequence_to_sequence.",
        ),
    ] = "text_classification",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="The participants' files, in quotes: 'sites/*.csv'. A file's name is its participant's.",
            show_default="data/*.csv",
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of texts.", show_default="guessed from a file")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="The column of classes, or of texts to write.", show_default="guessed from a file"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A hub name, a folder, or package:NAME.", show_default="a small one that suits the task"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Write a commented YAML file to start from, fitted to files of your own."""
    from foedus.config.starter import Wishes, write_starter

    starter = write_starter(path, Wishes(task, data, text, label, model), force=force)
    typer.echo(f"wrote {path}")
    for note in starter.notes:
        typer.echo(f"- {note}")
    typer.echo(f"next: foedus explain {path}")
