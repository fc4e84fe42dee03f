"""The command line. A command parses, calls one function of foedus.api and prints."""

from __future__ import annotations

from typing import Annotated

import typer

from foedus.cli.compare import compare
from foedus.cli.explain import explain
from foedus.cli.failures import Commands
from foedus.cli.fetch import fetch
from foedus.cli.generate import generate
from foedus.cli.init import init
from foedus.cli.keys import keys
from foedus.cli.predict import predict
from foedus.cli.privacy import privacy
from foedus.cli.provision import provision
from foedus.cli.resume import resume
from foedus.cli.run import run
from foedus.cli.schema import schema
from foedus.cli.serve import coordinator, participant
from foedus.cli.status import status
from foedus.cli.stop import stop
from foedus.cli.submit import submit
from foedus.cli.verify import verify
from foedus.cli.watch import watch

app = typer.Typer(
    name="foedus",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"foedus {version('foedus')}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train Hugging Face Transformers across organisations that cannot share their data."""


for command in (
    init,
    explain,
    run,
    compare,
    predict,
    generate,
    verify,
    coordinator,
    participant,
    submit,
    status,
    watch,
    stop,
    resume,
    fetch,
    schema,
):
    app.command()(command)
app.add_typer(keys, name="keys")
app.add_typer(privacy, name="privacy")
app.add_typer(provision, name="provision")


def main() -> None:
    """Run the command line."""
    app()
