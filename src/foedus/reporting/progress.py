"""How a run looks while it works: live on a terminal, a line a round elsewhere, JSON for machines, or nothing."""

from __future__ import annotations

import json as json_format
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from foedus.federation.events import Event, Observer, RoundEnded, RunEnded, RunStarted, ignore
from foedus.reporting.phrasing import metric_name, metric_value, printable, roughly
from foedus.reporting.watching import Watch, closing_lines, round_lines, start_line, watch

if TYPE_CHECKING:
    from rich.console import RenderableType

Clock = Callable[[], float]


def progress_for(stream: TextIO, *, json: bool = False, quiet: bool = False) -> AbstractContextManager[Observer]:
    """Return the observer that fits, for the length of a with block.

    json: one object an event. quiet: nothing at all. Otherwise live progress if the stream is a terminal, and
    else a line a round. After an error inside the block the terminal is as it was.
    """
    if json:
        return nullcontext(json_lines(stream))
    if quiet:
        return nullcontext(ignore)
    return live(stream) if stream.isatty() else nullcontext(plain(stream))


def plain(stream: TextIO, clock: Clock = time.monotonic) -> Observer:
    """Return an observer that writes a line a round."""
    state: Watch | None = None

    def observe(event: Event) -> None:
        nonlocal state
        now = clock()
        state = watch(state, event, now)
        for line in _lines(state, event, now):
            stream.write(line + "\n")
        stream.flush()

    return observe


def _lines(state: Watch | None, event: Event, now: float) -> Iterator[str]:
    match event:
        case RunStarted():
            yield start_line(event)
        case RoundEnded() if state is not None:
            yield from round_lines(state, event.record, now)
        case RunEnded():
            yield from closing_lines(event)


def json_lines(stream: TextIO) -> Observer:
    """Return an observer that writes each event as a JSON object on one line; what is not finite is null."""

    def observe(event: Event) -> None:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        content = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
        stream.write(json_format.dumps({"event": name, **content}, allow_nan=False) + "\n")
        stream.flush()

    return observe


def _plain(value: object) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Path():
            return str(value)
        case Mapping():
            return {str(key): _plain(of) for key, of in value.items()}
        case list() | tuple():
            return [_plain(of) for of in value]
        case _:
            return value


@contextmanager
def live(stream: TextIO, clock: Clock = time.monotonic) -> Iterator[Observer]:
    """Show the round, the participant at work and the time left, below a line for each round that is over."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream)
    state: Watch | None = None

    def shown() -> RenderableType:
        return status(state, clock(), console.width) if state is not None else Text()

    with Live(console=console, get_renderable=shown, refresh_per_second=5, transient=True) as display:

        def observe(event: Event) -> None:
            nonlocal state
            now = clock()
            state = watch(state, event, now)
            if isinstance(event, RunStarted):
                display.start()
            elif isinstance(event, RunEnded):
                display.stop()
            for line in _lines(state, event, now):
                # As text, not as markup: a site may be called "[red]".
                console.print(Text(line), soft_wrap=True, highlight=False)

        yield observe


def status(state: Watch, now: float, columns: int) -> RenderableType:
    """Return the lines of live progress: rounds with a bar, then the phase with its participants."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    progress = state.round - (1 if state.round_began is not None else 0) + state.part_of_round()
    left = state.seconds_left(now)
    width = max(10, min(40, columns - 46))
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        Text(f"round {state.round:,} of {state.run.rounds:,}", style="bold"),
        ProgressBar(total=state.run.rounds, completed=progress, width=width),
        Text(f"about {roughly(left)} left" if left is not None else "measuring the first round"),
    )
    verb = {"alone": "training alone", "train": "training", "evaluate": "evaluating"}[state.phase]
    of_them = f": {min(state.done, state.expected):,} of {state.expected:,} sites" if state.expected else ""
    rest = Text(f"{verb}{of_them}", style="dim")
    if state.report is not None:
        told = f", {printable(state.report.participant)}"
        if state.report.failure is not None:
            told += f" failed: {printable(state.report.failure)}"
        elif state.report.loss is not None:
            told += f" loss {metric_value(state.report.loss)}"
        rest.append(told)
    rest.append(_headline(state))
    rest.truncate(columns, overflow="ellipsis")
    return Group(grid, rest)


def _headline(state: Watch) -> str:
    evaluation = (state.latest or {}).get("evaluation") or {}
    value = (evaluation.get("all") or {}).get(state.run.headline)
    return f"; {metric_name(state.run.headline)} so far {metric_value(value)}" if value is not None else ""
