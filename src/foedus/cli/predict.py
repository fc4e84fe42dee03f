"""`foedus predict`: what a finished run's model makes of texts."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from foedus.cli.options import Debug, Json


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.", show_default=False)],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Texts; none: from standard input.", show_default=False),
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(help="A file of texts, one a line.", exists=True, dir_okay=False, show_default=False)
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Show this many classes.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Write at most this many tokens.")] = 40,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify or continue texts with a finished run's model."""
    if texts and file:
        raise typer.BadParameter("give texts or a file of them, not both", param_hint="--file")
    if file:
        asked = file.read_text(encoding="utf-8").splitlines()
    elif texts:
        asked = texts
    else:
        if sys.stdin.isatty():
            typer.echo("texts, one a line; end with Ctrl-D:", err=True)
        asked = sys.stdin.read().splitlines()
    from foedus import api

    asked = [text for text in asked if text.strip()]
    for text, result in zip(asked, api.predict(run, asked, top_k=top_k, max_new_tokens=max_new_tokens), strict=True):
        typer.echo(json_format.dumps({"text": text, **result}) if json else _line(result))


def _line(result: Mapping[str, Any]) -> str:
    return str(result)
