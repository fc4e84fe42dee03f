"""`foedus verify`: whether a signed run's folder is what its participants signed."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foedus.cli.failures import FAILED, REFUSED, is_debugging
from foedus.cli.options import Debug, Json


def verify(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished, signed run's folder.", show_default=False)],
    *,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="The folder of your pinned keys; left out: whose the keys are is not checked.", show_default=False
        ),
    ] = None,
    receipt: Annotated[
        list[Path] | None,
        typer.Option(help="A participant's file of receipts; may be given several times.", show_default=False),
    ] = None,
    bill: Annotated[
        list[Path] | None,
        typer.Option(help="A participant's bill, where it is secret; may be given several times.", show_default=False),
    ] = None,
    without_privacy: Annotated[
        bool, typer.Option("--without-privacy", help="Leave out computing epsilon anew.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check every signature, proof and figure of a run offline, and name the first that does not hold."""
    import foedus
    from foedus.core.errors import MissingExtra, SignatureError

    def passed(check: str) -> None:
        if not json:
            typer.echo(line(check))

    try:
        found = foedus.verify(
            run, keys=keys, receipts=receipt or (), bills=bill or (), without_privacy=without_privacy, passed=passed
        )
    except (SignatureError, MissingExtra) as error:
        if is_debugging(ctx):
            raise
        unknown = isinstance(error, MissingExtra)
        said = f"NOT CHECKED: {error}; or leave it out with --without-privacy" if unknown else f"DOES NOT HOLD: {error}"
        holds = None if unknown else False
        typer.echo(json_format.dumps({"holds": holds, "reason": str(error)}) if json else said)
        raise typer.Exit(REFUSED if unknown else FAILED) from None
    if json:
        typer.echo(json_format.dumps({"holds": True, **asdict(found)}))
    else:
        typer.echo(
            f"run {found.run}: {found.updates} updates of {found.participants} participants in {found.rounds} rounds"
        )


def line(check: str) -> str:
    """Return what people see of a check that was made, or could not be."""
    return check if check.startswith("NOT CHECKED") else f"holds: {check}"
