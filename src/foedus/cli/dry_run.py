"""`foedus participant --dry-run`: what would leave an organisation in a run."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from foedus.cli.options import terminal

if TYPE_CHECKING:
    from foedus.api.dry_run import DryRun, Phase

MOST_ROWS = 12  # of one message's parts; --json tells them all


def print_dry_run(kit: Path, data: Path | None, config: Path, changes: list[str], *, json: bool) -> None:
    """Print what would leave the kit's organisation in a run, as it would be submitted; nothing is trained or sent."""
    from foedus.api.dry_run import dry_run
    from foedus.api.submit import as_submitted
    from foedus.engines.kits.kit import PARTICIPANT_FILE, open_kit

    opened = open_kit(kit, "participant")
    found = dry_run(
        data or opened.folder / PARTICIPANT_FILE,
        as_submitted(config, changes),
        opened.name,
        opened.league.organisations,
    )
    if json:
        typer.echo(json_format.dumps(asdict(found)))
        return
    _print(found)


def _print(found: DryRun) -> None:
    from foedus.reporting.phrasing import byte_size

    console = terminal()
    console.print(f"[bold]What would leave {found.organisation} in the run {found.run}[/bold]", highlight=False)
    for phase in found.phases:
        console.print()
        seen = "the coordinator sees it" if phase.alone else f"hidden in a sum (secure_sum: {found.sums})"
        times = "once" if phase.times == 1 else f"{phase.times:,} times"
        console.print(f"[bold]{phase.name}[/bold]: {byte_size(phase.size)}, {times}; {seen}", highlight=False)
        if all(item.kind == "told" for item in phase.items):
            for item in phase.items:
                console.print(f"  {item.name}: {found.facts[item.name]}", markup=False, soft_wrap=True)
            continue
        _print_items(phase)
    console.print()
    allowed = f"limits.upload_bytes allows {byte_size(found.allowed)}"
    console.print(f"The largest of these has {byte_size(found.largest)}; {allowed}.", soft_wrap=True, highlight=False)
    console.print(
        "Beside these: acknowledgements, reasons for failures (never with rows in them), and with secure sums keys, "
        "sealed shares and signatures, which are counted above. Rows do not leave.",
        soft_wrap=True,
        highlight=False,
    )


def _print_items(phase: Phase) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 2))
    for heading, justify in (("name", "left"), ("shape", "left"), ("as", "left"), ("bytes", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type] # one of rich's words
    for item in phase.items[:MOST_ROWS]:
        shape = "x".join(str(size) for size in item.shape) or "1"
        table.add_row(Text(item.name), shape, item.kind, f"{item.size:,}")
    if len(phase.items) > MOST_ROWS:
        rest = phase.items[MOST_ROWS:]
        table.add_row(f"… and {len(rest):,} more (--json tells them)", "", "", f"{sum(item.size for item in rest):,}")
    terminal().print(table)
