"""`foedus privacy ledger`: who spent what."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from foedus.cli.options import Debug, Json, terminal

NONE_YET = "no privacy was spent and no budget set yet; ledgers would lie in"


def ledger(
    participant: Annotated[
        str | None, typer.Option(help="Show this participant's ledger only.", show_default=False)
    ] = None,
    *,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what every run has spent of whose privacy, with unit and δ, and what the budgets leave."""
    import foedus

    rows = foedus.privacy_ledger(participant)
    if json:
        for row in rows:
            typer.echo(json_format.dumps(row))
        return
    if not rows:
        from foedus.privacy.ledger.places import ledger_folder

        typer.echo(f"{NONE_YET} {ledger_folder()}")
    for row in rows:
        _show(row)


def _show(row: Mapping[str, Any]) -> None:
    from rich.table import Table

    console = terminal()
    console.print(f"[bold]{row['owner']}[/bold]: budget {row['budget_id']}", highlight=False)
    console.print(standing(row), markup=False, soft_wrap=True)
    if row["runs"]:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("run", "rounds", "charges", "not settled", "mechanism", "last"):
            table.add_column(heading, justify="left" if heading in {"run", "mechanism", "last"} else "right")
        for run in row["runs"]:
            counts = [f"{run[name]:,}" for name in ("rounds", "uses", "unsettled")]
            table.add_row(run["run"][:12], *counts, _mechanism(run["event"]), run["until"])
        console.print(table)
    console.print()


def standing(row: Mapping[str, Any]) -> str:
    """Return where a budget stands, in a sentence or two."""
    rows = "" if row["records"] is None else f" of {row['records']:,} rows"
    units = f"for each {row['unit']}{rows}" if row["unit"] != "participant" else "for a participant as a whole"
    delta = f" (δ {row['delta']:.3g})" if row["delta"] is not None else ""
    spent = f"spent ε {row['epsilon']:.4g} {units}{delta}"
    if row["budget"] is None:
        text = f"{spent}; no budget set, so nothing limits it"
    else:
        text = f"{spent}; the budget is ε {row['budget']['epsilon']:.4g}, which leaves {row['remaining']:.4g}"
        if row["budget"]["note"]:
            text += f" ({row['budget']['note']})"
    if row["unsettled"]:
        text += f". Of this, {row['unsettled']:,} in a round that is going on or was cut short; it counts"
    if row["changed_data_accepted"]:
        text += ". The next run may bring other rows"
    return text


def _mechanism(event: Mapping[str, Any]) -> str:
    kind = str(event["kind"]).replace("_", " ")
    figures = ", ".join(
        f"{name.replace('_', ' ')} {_shown(value)}" for name, value in event.items() if name not in {"kind", "version"}
    )
    return f"{kind} ({figures})"


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def of_budget(rows: Sequence[Mapping[str, Any]], budget_id: str | None) -> Sequence[Mapping[str, Any]]:
    """Return the rows of one budget, or all."""
    return [row for row in rows if budget_id in {None, row["budget_id"]}]
