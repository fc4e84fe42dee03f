"""`foedus provision`: the kits that a federation's parties start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from foedus.cli.options import Debug


class _KitsByDefault(TyperGroup):
    """`foedus provision federation.yaml` makes all kits; anything else names a step of the distributed way."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["all", *args]
        return super().parse_args(ctx, args)


provision = typer.Typer(
    cls=_KitsByDefault,
    no_args_is_help=True,
    help="Make the kits of a federation: all at once (foedus provision FILE), or each party its own keys.",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="federation.yaml: who belongs to it.", show_default=False)]
Fingerprint = Annotated[
    str | None, typer.Option(help="What the key's owner read out; left out: you are asked.", show_default=False)
]


@provision.command("all")
def make_all(
    file: File,
    *,
    folder: Annotated[
        Path | None, typer.Option(help="Where kits are made.", show_default="FILE's name, with -kits")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make a kit for the coordinator, each organisation and each researcher, here."""
    from foedus.api.provision import provision as make

    made = make(file, folder or file.with_name(f"{file.stem}-kits"))
    for name, print_ in made.fingerprints.items():
        typer.echo(f"{print_}  {name}")
    typer.echo(f"next: give each party its folder in {made.folder}, and nobody else; each holds private keys")
    typer.echo(f"      keep {made.folder / 'authority'} where nobody else gets at it; runs do not need it")


@provision.command()
def begin(
    file: File,
    *,
    folder: Annotated[Path, typer.Option(help="Where the authority's keys are made.")] = Path("authority"),
    debug: Debug = False,
) -> None:
    """Begin the distributed way: make the authority, and an invitation for everybody."""
    from foedus.api.provision import found_federation

    made = found_federation(file, folder)
    typer.echo(f"{made.fingerprint}  authority")
    typer.echo(f"next: give {made.file} to every party and read the fingerprint out to them")


@provision.command()
def request(
    invitation: Annotated[Path, typer.Argument(metavar="INVITATION", help="What you were given.", show_default=False)],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Your organisation, coordinator, or your address.", show_default=False)
    ],
    *,
    home: Annotated[Path, typer.Option(help="Where your keys are made.")] = Path("home"),
    fingerprint: Fingerprint = None,
    debug: Debug = False,
) -> None:
    """Make your keys, and a request that holds the public ones."""
    from foedus.api.provision import authority_in, request_place

    checked = _checked(fingerprint, authority_in(invitation), "authority")
    made = request_place(invitation, name, home, checked)
    typer.echo(f"{made.fingerprint}  {name}")
    typer.echo(f"next: give {made.file} to whoever invited you and read the fingerprint out to them")


@provision.command()
def sign(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="A party's request.", show_default=False)],
    *,
    folder: Annotated[Path, typer.Option(help="Where the authority's keys lie.")] = Path("authority"),
    fingerprint: Fingerprint = None,
    debug: Debug = False,
) -> None:
    """Take a party's request; the last one brings everybody's grant."""
    from foedus.api.provision import asker_in, sign_request

    name, print_ = asker_in(request)
    accepted = sign_request(folder, request, _checked(fingerprint, print_, name))
    if accepted.missing:
        typer.echo(f"taken; still to ask: {', '.join(accepted.missing)}")
        return
    for name, grant in accepted.grants.items():
        typer.echo(f"{grant}  for {name}")
    typer.echo("next: give each party its grant; grants are no secret")


@provision.command()
def kit(
    grant: Annotated[Path, typer.Argument(metavar="GRANT", help="What you were given.", show_default=False)],
    *,
    home: Annotated[Path, typer.Option(help="Where your keys lie.")] = Path("home"),
    folder: Annotated[Path, typer.Option(help="Where the kit is made.")] = Path("kit"),
    debug: Debug = False,
) -> None:
    """Make your kit from your keys and your grant."""
    from foedus.api.provision import make_kit

    made = make_kit(home, grant, folder)
    typer.echo(f"made {made.folder}, the kit of {made.name} in {made.league.name}")
    typer.echo(f"next: read {made.folder / 'README.md'}")


def _checked(given: str | None, found: str, whose: str) -> str:
    """Return the fingerprint that a person heard from the key's owner."""
    if given is not None:
        return given
    typer.echo(f"{found}  {whose}")
    typer.confirm("Did its owner read out this fingerprint?", abort=True)
    return found
