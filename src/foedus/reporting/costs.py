"""What a run cost: bytes and time a round, and what synchronising after every step would have sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from foedus.reporting.charts import MOST_POINTS, Stack, column_chart, thinned
from foedus.reporting.frame import SMALL, Caption
from foedus.reporting.page import Figure, Table
from foedus.reporting.phrasing import byte_size, byte_unit, duration, time_unit, times_fewer
from foedus.reporting.records import Run

FP32 = 4  # bytes


def steps_made(run: Run) -> int | None:
    """Return the optimizer steps of all participants together, or None where a round does not tell."""
    told = [record.steps for record in run.rounds if record.round > 0]
    return sum(step for step in told if step is not None) if told and None not in told else None


def bytes_of_steps(run: Run) -> float | None:
    """Return the bytes that all participants would send if they synchronised after every step in fp32.

    Each step then sends every trained parameter up once, and as much comes down. None where steps are not told.
    """
    steps = steps_made(run)
    return float(FP32 * run.summary.parameters.sent * steps) if steps else None


def traffic_table(run: Run) -> Table | None:
    """Return the bytes of a round and of the run: up, down and both; None if the run does not tell them.

    Where steps are told, also how many times fewer these are than with a synchronisation in fp32 after every step.
    """
    sent = run.summary.bytes
    rounds = sum(record.round > 0 for record in run.rounds)
    if any(record.cohort_hidden for record in run.rounds) or not (rounds and sent.get("up") and sent.get("down")):
        return None
    every_step = bytes_of_steps(run)
    ways = {
        "from the sites": (sent["up"], every_step),
        "to the sites": (sent["down"], every_step),
        "both ways": (sent["up"] + sent["down"], 2 * every_step if every_step else None),
    }
    rows = [[way, byte_size(of / rounds), byte_size(of)] for way, (of, _) in ways.items()]
    head = ["over all sites", "a round", "in all"]
    if every_step:
        head += ["in fp32 after every step", "times fewer"]
        for row, (of, whole) in zip(rows, ways.values(), strict=True):
            assert whole is not None
            row += [byte_size(whole), times_fewer(whole / of)]
    return Table("Bytes sent for training", head, rows)


def cost_figures(run: Run) -> Sequence[Figure]:
    """Return the bytes and the seconds of each round, where the run tells them."""
    sizes = {record.round: record.bytes for record in run.rounds if record.bytes}
    times = {record.round: record.seconds for record in run.rounds if record.seconds}
    figures = []
    if sizes:
        names = {"down": "to the sites", "up": "from the sites"}
        figures.append(
            _columns("bytes", "Bytes a round, over all sites", sizes, names, unit_of=byte_unit, describe=byte_size)
        )
    if times:
        names = {"train": "training", "evaluate": "evaluation"}
        figures.append(_columns("time", "Time a round", times, names, unit_of=time_unit, describe=duration))
    return figures


def _columns(
    key: str,
    title: str,
    values: Mapping[int, Mapping[str, float]],
    names: Mapping[str, str],
    *,
    unit_of: Callable[[float], tuple[float, str]],
    describe: Callable[[float], str],
) -> Figure:
    rounds = list(values)
    divisor, unit = unit_of(max(sum(of.get(part, 0.0) for part in names) for of in values.values()))
    stacks = [
        Stack(name, [of.get(part, 0.0) / divisor for of in values.values()], style)
        for (part, name), style in zip(names.items(), ("s0", "s1"), strict=True)
    ]
    kept = [rounds[index] for index in thinned(len(rounds), MOST_POINTS)]
    rows = [[f"{number:,}", *(describe(values[number].get(part, 0.0)) for part in names)] for number in kept]
    total = sum(of.get(part, 0.0) for of in values.values() for part in names)
    caption = Caption(f"cost-{key}", title, f"{title}: {describe(total)} in all. The table below holds the values.")
    svg = column_chart(
        caption, rounds, stacks, y_label=unit, describe=lambda value: describe(value * divisor), size=SMALL
    )
    return Figure(caption, svg, Table(title, ["round", *names.values()], rows), half=True)
