"""`foedus keys`: the keys by which the parties of a federation know each other."""

from __future__ import annotations

import json as json_format
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foedus.cli.options import Debug, Json

if TYPE_CHECKING:
    from foedus.api.keys import KnownKey

# Where a script puts what a person would be asked for.
PASSPHRASE = "FOEDUS_KEY_PASSPHRASE"  # noqa: S105 - the variable's name

keys = typer.Typer(no_args_is_help=True, help="Make, show, pin and change the keys that sign.")

Who = Annotated[str, typer.Argument(metavar="NAME", help="The participant's name, or coordinator.", show_default=False)]
Folder = Annotated[Path, typer.Option(help="Where the keys lie.")]
Asked = Annotated[
    bool, typer.Option("--passphrase", help=f"The private key is encrypted: ask, or take it from {PASSPHRASE}.")
]
KEYS = Path("keys")


@keys.command()
def new(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="The participant's name, or coordinator.", show_default=False),
    ],
    *,
    folder: Folder = KEYS,
    passphrase: Asked = False,
    debug: Debug = False,
) -> None:
    """Make a key, and a public file to hand out; several for a simulation."""
    from foedus.api.keys import new_key

    chosen = _passphrase(passphrase, confirmed=True)
    for name in names:
        made = new_key(name, folder, chosen)
        typer.echo(f"{made.key.fingerprint}  {name}")
        if len(names) == 1:
            typer.echo(f"next: give {made.file} to the others and read the fingerprint out to them")


@keys.command()
def show(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Whose; none: all.")] = None,
    *,
    folder: Folder = KEYS,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the fingerprints of the keys that are pinned."""
    from foedus.api.keys import show_keys

    found = show_keys(folder, names or ())
    for key in found:
        typer.echo(json_format.dumps(asdict(key)) if json else line(key))
    if not found and not json:
        typer.echo(f"no key is pinned in {folder}; make one with foedus keys new, or take one in with foedus keys pin")


@keys.command()
def pin(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A NAME.pub, or a NAME.0.change.", show_default=False)],
    *,
    fingerprint: Annotated[
        str | None, typer.Option(help="What the key's owner read out; left out: you are asked.", show_default=False)
    ] = None,
    folder: Folder = KEYS,
    debug: Debug = False,
) -> None:
    """Take in another party's public key, or a change of its key."""
    from foedus.api.keys import pin_key, read_handout

    named = read_handout(file)
    if fingerprint is None and named is not None:
        typer.echo(f"{named[1]}  {named[0]}")
        typer.confirm("Did its owner read out this fingerprint?", abort=True)
        fingerprint = named[1]
    typer.echo(line(pin_key(file, folder, fingerprint)))


@keys.command()
def rotate(name: Who, *, folder: Folder = KEYS, passphrase: Asked = False, debug: Debug = False) -> None:
    """Replace your key by a new one that the old one signs."""
    from foedus.api.keys import rotate_key

    made = rotate_key(name, folder, _passphrase(passphrase))
    typer.echo(line(made.key))
    typer.echo(f"next: give {made.file} to the others; they take it in with foedus keys pin")


@keys.command()
def revoke(name: Who, *, folder: Folder = KEYS, passphrase: Asked = False, debug: Debug = False) -> None:
    """End your key for good: somebody else may have it."""
    from foedus.api.keys import revoke_key

    made = revoke_key(name, folder, _passphrase(passphrase))
    typer.echo(line(made.key))
    typer.echo(f"next: give {made.file} to the others at once; they take it in with foedus keys pin")


def line(key: KnownKey) -> str:
    """Return what people see of a key."""
    remarks = [remark for remark, holds in (("your own", key.own), ("REVOKED", key.revoked)) if holds]
    if key.changes:
        remarks.append(f"changed {key.changes} time{'s' if key.changes > 1 else ''}")
    return f"{key.fingerprint}  {key.name}" + (f"  ({', '.join(remarks)})" if remarks else "")


def _passphrase(asked: bool, confirmed: bool = False) -> str | None:
    if not asked:
        return None
    given = os.environ.get(PASSPHRASE)
    return given or str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirmed, err=True))
