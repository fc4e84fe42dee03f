"""`foedus predict`: what a finished run's model makes of texts."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from foedus.cli.options import Debug, Json
from foedus.core.errors import DataError


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.", show_default=False)],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Texts; none: one a line from standard input.", show_default=False),
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(help="A file of texts, one a line.", exists=True, dir_okay=False, show_default=False)
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Show this many classes, or words for a gap.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Write at most this many tokens.")] = 40,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify or continue texts with a finished run's model; both texts of a pair stand with a tab between."""
    if texts and file:
        raise typer.BadParameter("give texts or a file of them, not both", param_hint="--file")
    asked = [text for text in texts or _lines(file) if text.strip()]
    if not asked:
        raise DataError("there is no text to predict from; give some as arguments, with --file, or one a line")
    takes_pairs = _takes_pairs(run)
    import foedus

    given = [_pair(text, number) for number, text in enumerate(asked, 1)] if takes_pairs else asked
    found = foedus.predict(run, given, top_k=top_k, max_new_tokens=max_new_tokens)
    for text, result in zip(asked, found, strict=True):
        typer.echo(json_format.dumps({"input": text, **result}) if json else "\n".join(lines(text, result)))


def _lines(file: Path | None) -> Sequence[str]:
    if file is None and sys.stdin.isatty():
        typer.echo("texts, one a line; end with Ctrl-D:", err=True)
    try:
        return (sys.stdin.read() if file is None else file.read_text(encoding="utf-8-sig")).splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{file or 'standard input'} is not UTF-8 text; save it as UTF-8") from None


def _takes_pairs(run: Path) -> bool:
    """Return whether the run's model reads two texts at once; a folder that is no run is refused later."""
    from foedus.config.loading import load_config
    from foedus.config.sections import TextClassification

    path = run / "config.yaml"
    task = load_config(path).task if path.is_file() else None
    return isinstance(task, TextClassification) and len(task.text) > 1


def _pair(text: str, number: int) -> tuple[str, str]:
    first, tab, second = text.partition("\t")
    if not tab:
        raise DataError(f"text {number}: this run's model reads pairs of texts; put a tab between the two")
    return first, second


def lines(text: str, result: Mapping[str, Any]) -> Sequence[str]:
    """Return what people see of a prediction."""
    if "ranking" in result:
        likely = [f"{entry['label']} {_percent(entry['probability'])}" for entry in result["ranking"]]
        return [f"{', '.join(likely)}  <- {text}"]
    if "gaps" in result:
        ranked = [[f"{entry['token']} {_percent(entry['probability'])}" for entry in gap] for gap in result["gaps"]]
        return [result["text"], *(f"  {', '.join(words)}" for words in ranked if len(words) > 1)]
    return [f"{text} -> {result['text']}"]


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"
