"""`foedus explain`: what a run would do, and every problem found, without training."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from foedus.cli.failures import REFUSED
from foedus.cli.options import Config, Debug, Json, Name, Output, Settings, load, overrides, terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from foedus.config.explanation import Explanation, Holding, Traffic
    from foedus.privacy.secure_sum.cost import Cost


def explain(
    config: Config,
    *,
    settings: Settings = None,
    name: Name = None,
    output: Output = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a run would do: its settings, who holds what, what is sent, and every problem found."""
    resolved = load(config, overrides(settings, name, output))
    import foedus

    explanation = foedus.explain(resolved)
    if json:
        typer.echo(json_format.dumps(explanation, default=vars))
    else:
        show(explanation, terminal())
    if explanation.problems:
        raise typer.Exit(REFUSED)


def show(explanation: Explanation, console: Console) -> None:
    """Print an explanation."""
    for heading, content in _parts(explanation):
        console.print(f"[bold]{heading}[/bold]")
        console.print(content, soft_wrap=isinstance(content, str), markup=False)
        console.print()


def _parts(explanation: Explanation) -> Iterator[tuple[str, RenderableType]]:
    from rich.syntax import Syntax

    yield "Settings, defaults included", Syntax(explanation.config.rstrip(), "yaml", background_color="default")
    if explanation.participants is not None:
        yield "Participants", _participants(explanation.participants, explanation.labels)
    if explanation.total is not None:
        yield "Model", _model(explanation)
    if explanation.traffic is not None:
        yield "Sent, without framing", _traffic(explanation, explanation.traffic)
    if explanation.secure_sums:
        yield "Ways to sum: secure_sum", _sums(explanation.secure_sums)
        yield "What each protects", "\n".join(_protection(explanation.secure_sums))
    if explanation.privacy:
        promise, *limits = explanation.privacy
        yield "Differential privacy", "\n".join([promise, "Not protected:", *(f"- {limit}" for limit in limits)])
    if explanation.notes:
        yield "Worth knowing", "\n".join(f"- {note}" for note in explanation.notes)
    if explanation.problems:
        yield "Problems: the run cannot be made as it is", "\n".join(f"- {problem}" for problem in explanation.problems)
    else:
        yield "No problem found", f"The run would be written to {explanation.folder}"


def _participants(participants: Sequence[Holding], labels: Sequence[str] | None) -> RenderableType:
    from rich.table import Table

    from foedus.data.sites import SPLITS
    from foedus.reporting.phrasing import printable

    splits = [split for split in SPLITS if any(holding.rows.get(split) for holding in participants)]
    table = Table(box=None, padding=(0, 2, 0, 0), show_footer=len(participants) > 1)
    table.add_column("participant", footer=f"all {len(participants):,}")
    for split in splits:
        total = sum(holding.rows.get(split, 0) for holding in participants)
        table.add_column(f"{split} rows", justify="right", footer=f"{total:,}")
    table.add_column("steps a round", justify="right")
    if labels:
        table.add_column("classes in training", overflow="fold")
    for holding in participants:
        cells = [
            printable(holding.name),
            *(f"{holding.rows.get(split, 0):,}" for split in splits),
            f"{holding.steps:,}",
        ]
        table.add_row(*cells, *([_classes(holding.labels, labels)] if labels else []))
    return table


def _classes(held: Mapping[str, int], labels: Sequence[str]) -> str:
    """Return how many of the classes a participant has, and the most frequent ones."""
    from foedus.reporting.phrasing import printable, shortened

    total = sum(held.values())
    most = sorted(held.items(), key=lambda item: -item[1])[:3]
    named = ", ".join(
        f"{shortened(printable(label), 24)} {100 * count / total:.0f} %" for label, count in most if count
    )
    return f"{sum(count > 0 for count in held.values())} of {len(labels)}: {named}"


def _model(explanation: Explanation) -> RenderableType:
    total = explanation.total or 0
    rows = [("parameters", total), ("trained", explanation.trained or 0), ("sent", explanation.sent or 0)]
    cells = [(name, f"{count:,}", _share(count, total) if name != "parameters" else "") for name, count in rows]
    return _grid([*cells, ("device", explanation.device or "", "")])


def _share(part: int, total: int) -> str:
    return f"{100 * part / total:.3g} %" if total else ""


def _traffic(explanation: Explanation, one: Traffic) -> RenderableType:
    from foedus.reporting.phrasing import byte_size, counted

    rows = [
        ("", "to participants", "from participants"),
        ("one participant in a round", byte_size(one.down), byte_size(one.up)),
    ]
    if explanation.cohort is not None:
        all_of_them = one.times(explanation.cohort)
        run = all_of_them.times(explanation.rounds)
        cohort = f"{explanation.cohort:,.4g}"
        rows.append((f"a round's {cohort} participants", byte_size(all_of_them.down), byte_size(all_of_them.up)))
        rows.append((f"all {counted(explanation.rounds, 'round')}", byte_size(run.down), byte_size(run.up)))
    return _grid(rows)


def _sums(costs: Sequence[Cost]) -> RenderableType:
    """Return what each way to sum costs in a round, seconds estimated."""
    from foedus.reporting.phrasing import byte_size, duration

    head = ("", "to a participant", "from it", "exchanges", "its time", "the coordinator's time")
    rows = [
        (
            cost.kind,
            byte_size(cost.down_bytes),
            byte_size(cost.up_bytes),
            f"{cost.exchanges}",
            f"+ {duration(cost.participant_seconds)}",
            f"+ {duration(cost.coordinator_seconds)}",
        )
        for cost in costs
    ]
    return _grid([head, *rows])


def _protection(costs: Sequence[Cost]) -> Iterator[str]:
    for cost in costs:
        yield f"- {cost.kind}: {cost.protects}. Not protected: {cost.does_not_protect}."
    yield "Times are estimates from rates measured now, on one core of this machine, beside training and the network."


def _grid(rows: Sequence[Sequence[str]]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    for index in range(len(rows[0])):
        grid.add_column(justify="left" if index == 0 else "right")
    for row in rows:
        grid.add_row(*row)
    return grid
