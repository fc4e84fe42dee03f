"""Errors as the command line shows them: a message without a traceback, and an exit code.

0: done. 1: the run was made and failed. 2: it cannot be made as asked. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from foedus.core.errors import FoedusError, ParticipantError, RoundError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


class Commands(TyperGroup):
    """The commands, with deliberate errors turned into messages."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a deliberate error ends the program with its message, unless --debug is given."""
        try:
            return super().invoke(ctx)
        except FoedusError as error:
            if is_debugging(ctx):
                raise
            typer.echo(str(error), err=True)
            raise typer.Exit(FAILED if isinstance(error, RoundError | ParticipantError) else REFUSED) from None
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
            raise typer.Exit(INTERRUPTED) from None


def is_debugging(ctx: typer.Context) -> bool:
    """Return whether --debug was given."""
    return bool(ctx.find_root().obj)


def remember_debugging(ctx: typer.Context, wanted: bool) -> bool:
    """Keep the value of --debug where the error handling finds it."""
    if wanted:
        ctx.find_root().obj = True
    return wanted
