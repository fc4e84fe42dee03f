"""`foedus watch`: a federation's state while it works, in the terminal or on a page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foedus.cli.options import Debug, terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from foedus.federation.orders import Order
    from foedus.federation.state import RunState
    from foedus.reporting.page import Table as Rows

Place = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="The coordinator's kit, a researcher's, or a run's folder.", show_default="here"
    ),
]
Run = Annotated[str | None, typer.Option(help="Which run; left out: the latest.", show_default=False)]
EVERY_S = 1.0


def watch(
    folder: Place = Path(),
    *,
    run: Run = None,
    web: Annotated[bool, typer.Option("--web", help="Serve a page for the browser.")] = False,
    port: Annotated[int, typer.Option(help="The page's port; 0: any that is free.", min=0, max=65535)] = 0,
    host: Annotated[
        str, typer.Option(help="The page's address. Others than this machine see it only if you say so.")
    ] = "127.0.0.1",
    debug: Debug = False,
) -> None:
    """Show who takes part, rounds, curves and refusals, until Ctrl-C."""
    if web:
        _serve(folder, run, host, port)
        return
    from rich.live import Live

    from foedus.api.run_source import run_source
    from foedus.federation.orders import read_orders
    from foedus.federation.state import read_state

    with run_source(folder, run) as source:
        chosen = source().name  # it stays with this one, though another may begin
    with run_source(folder, chosen) as source, Live(console=terminal(), auto_refresh=False) as live:
        while True:
            place = source()
            state = read_state(place)
            live.update(shown(state, read_orders(place)), refresh=True)
            if state.phase in {"ended", "stopped"}:
                return
            time.sleep(EVERY_S)


def shown(state: RunState, orders: Sequence[Order] = ()) -> RenderableType:
    """Return the state as a terminal shows it, and who asked for what."""
    from datetime import UTC, datetime

    from rich.console import Group
    from rich.text import Text

    from foedus.reporting.live import headline, members_table, orders_line, refusals_table

    now = datetime.now(UTC)
    parts: list[RenderableType] = [Text(headline(state, now), style="bold")]
    if orders:
        parts.append(Text(orders_line(orders)))
    parts.append(_table(members_table(state, now)))
    if state.refusals:
        parts.append(_table(refusals_table(state), most=8))
    return Group(*parts)


def _table(rows: Rows, most: int | None = None) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for index, heading in enumerate(rows.head):
        table.add_column(heading, justify="left" if index == 0 or index in rows.worded else "right")
    for row in rows.rows[:most]:
        table.add_row(*(Text(cell) for cell in row))  # Text: names of others are no markup
    return table


def _serve(folder: Path, run: str | None, host: str, port: int) -> None:
    from foedus.api.watch import WatchServer, is_loopback

    server = WatchServer(folder, run, host=host, port=port)
    if not is_loopback(host):
        typer.echo("warning: other machines reach this page, and it travels unencrypted; use an SSH tunnel", err=True)
    typer.echo(f"open {server.address}")
    typer.echo("Ctrl-C ends it", err=True)
    server.serve()
