"""`foedus privacy budget`: how much privacy runs may spend on a participant's data, in all."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from foedus.cli.options import Debug, Json
from foedus.cli.privacy_ledger import of_budget, standing

Id = Annotated[str, typer.Argument(metavar="ID", help="The budget's id.", show_default=False)]


def set_budget(
    budget_id: Id,
    *,
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="The most ε that all runs together may spend, those of the past included.", show_default=False
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="The δ that it holds for.", show_default="1/(10 n), if n rows are known"),
    ] = None,
    unit: Annotated[str, typer.Option(help="What is protected: record, block or participant.")] = "record",
    participant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose data it is for, by its name in the run's file.")
    ] = None,
    federation: Annotated[
        bool, typer.Option("--federation", help="It is the federation's, for all participants.")
    ] = False,
    note: Annotated[str, typer.Option(help="Who sets it, and why; kept with it.")] = "",
    accept_changed_data: Annotated[
        bool,
        typer.Option("--accept-changed-data", help="Let the next run bring other rows; what is spent stays spent."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Set how much privacy all runs together may spend on some data, or accept that these have changed."""
    import foedus

    rows = foedus.set_privacy_budget(
        budget_id,
        epsilon=epsilon,
        delta=delta,
        unit=unit,
        participant=participant,
        federation=federation,
        note=note,
        accept_changed_data=accept_changed_data,
    )
    _print(rows, json)


def show_budgets(
    budget_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The budget's id; all, if left out.", show_default=False)
    ] = None,
    *,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show budgets, and what is spent of them."""
    import foedus
    from foedus.core.errors import LedgerError

    rows = of_budget(foedus.privacy_ledger(), budget_id)
    if budget_id is not None and not rows:
        raise LedgerError(f"no ledger has a budget {budget_id}; foedus privacy ledger shows those that there are")
    _print(rows, json)


def _print(rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    for row in rows:
        if json:
            typer.echo(json_format.dumps({key: value for key, value in row.items() if key != "runs"}))
        else:
            typer.echo(f"{row['owner']}, budget {row['budget_id']}: {standing(row)}")
