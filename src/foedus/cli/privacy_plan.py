"""`foedus privacy plan`: what a run would spend of privacy, before anything is spent."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from foedus.cli.options import Config, Debug, Json, Settings, load, overrides, terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from foedus.api.privacy_plan import PrivacyPlan


def plan(config: Config, *, settings: Settings = None, json: Json = False, debug: Debug = False) -> None:
    """Show what a run would spend of privacy, and what other noise or other numbers of rounds would."""
    resolved = load(config, overrides(settings))
    import foedus

    planned = foedus.plan_privacy(resolved)
    if json:
        typer.echo(json_format.dumps(planned, default=vars))
        return
    console = terminal()
    for heading, content in _parts(planned):
        console.print(f"[bold]{heading}[/bold]")
        console.print(content, soft_wrap=isinstance(content, str), markup=False)
        console.print()


def _parts(planned: PrivacyPlan) -> Iterator[tuple[str, RenderableType]]:
    yield f"What {planned.name} would promise", planned.promise["statement"]
    yield f"Who spends, in {planned.rounds} rounds", _costs(planned)
    yield "Epsilon, by noise multiplier and rounds", _table(planned)
    if planned.advice:
        yield "Advice", planned.advice
    yield "What is not protected", "\n".join(f"- {limit}" for limit in planned.promise["limits"])


def _costs(planned: PrivacyPlan) -> RenderableType:
    from rich.table import Table

    from foedus.reporting.phrasing import printable

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in ("units", "batch", "uses", "noise", "epsilon", "delta", "budget"):
        table.add_column(name, justify="right")
    for name, cost in planned.costs.items():
        table.add_row(
            printable(name),
            f"{cost.units:,} {cost.unit}s",
            f"{cost.batch:,.4g}",
            f"{cost.uses:,}",
            f"{cost.noise_multiplier:.3f}",
            f"{cost.epsilon:.3f}",
            f"{cost.delta:g}",
            cost.budget,
        )
    return table


def _table(planned: PrivacyPlan) -> RenderableType:
    from rich.table import Table

    rounds = list(next(iter(planned.table.values())))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("noise", justify="right")
    for count in rounds:
        table.add_column(f"{count:,} rounds" if count > 1 else "1 round", justify="right")
    for noise, epsilons in planned.table.items():
        table.add_row(f"{noise:.3f}", *(f"{epsilons[count]:.2f}" for count in rounds))
    return table
