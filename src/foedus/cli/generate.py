"""`foedus generate`: what a run's language model writes."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.options import Debug, Json


def generate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.", show_default=False)],
    *,
    prompt: Annotated[
        str, typer.Option(help="The text's beginning; left out, the model begins by itself.", show_default=False)
    ] = "",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Write at most this many tokens.")] = 100,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Less writes likelier words; 0 always takes the likeliest.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Another seed writes another text.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Write this many texts.")] = 1,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a finished run's causal language model write, from a prompt or from nothing."""
    import foedus

    texts = foedus.generate(
        run, prompt, samples=samples, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
    )
    for number, text in enumerate(texts):
        if json:
            typer.echo(json_format.dumps({"prompt": prompt, "text": text}))
        else:
            typer.echo(f"{'' if number == 0 else chr(10)}{prompt}{text}")
