"""The result of a run in plain words and in a few large figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from foedus.reporting.costs import bytes_of_steps
from foedus.reporting.page import KeyFigure
from foedus.reporting.phrasing import amount, byte_size, counted, duration, metric_name, metric_value, times_fewer
from foedus.reporting.records import Evaluation, Run
from foedus.reporting.sites import worst_site

_SIMULATED = (
    "The sites were simulated in one process on one machine: what they exchange is what organisations would exchange, "
    "parameters and statistics, but nothing went over a network."
)
_APART = (
    "Each site was a program of its own, which kept its rows and connected to the coordinator over mTLS; who ran it, "
    "and on which machine, this page cannot tell."
)


def where_played(run: Run) -> str:
    """Return where the sites were, in a sentence."""
    return _APART if run.summary.between_organisations else _SIMULATED


def verdict(run: Run) -> str:
    """Return what came out, in one or two sentences."""
    summary = run.summary
    who = f"{counted(run.participant_count, 'site')} trained a model together"
    name = metric_name(summary.headline)
    value = headline(run, summary.final)
    if value is None:
        return f"{who}; it was not evaluated, so how good it is remains open."
    if not math.isfinite(value):
        return f"{who}, but its {name} is {metric_value(value)}: training diverged. A smaller learning rate may help."
    bits = f" ({metric_value(known)} bits per byte)" if (known := bits_per_byte(run, summary.final)) else ""
    sentence = f"{who}: {name} {metric_value(value)}{bits} on all sites' {run.split} rows"
    before = headline(run, summary.initial)
    if before is not None and math.isfinite(before):
        sentence += _course(before, value, summary.higher_is_better)
    if worst := worst_site(run, summary.final):
        sentence += f"; the worst site, {worst[0]}, has {metric_value(worst[1])}"
    return sentence + "."


def _course(before: float, after: float, higher_is_better: bool) -> str:
    if metric_value(before) == metric_value(after):
        return ", the same as before training"
    direction = "up" if after > before else "down"
    worse = "" if (after > before) == higher_is_better else ", which is worse"
    return f", {direction} from {metric_value(before)} before training{worse}"


def headline(run: Run, evaluation: Evaluation | None) -> float | None:
    """Return the headline metric over all sites, or None if it was not measured."""
    return ((evaluation and evaluation.all) or {}).get(run.summary.headline)


def bits_per_byte(run: Run, evaluation: Evaluation | None) -> float | None:
    """Return a language model's bits per byte over all sites, which other tokenizers' can be compared with."""
    value = ((evaluation and evaluation.all) or {}).get("bits_per_byte")
    return value if value is not None and math.isfinite(value) else None


def uncertainty(run: Run) -> str | None:
    """Return how well an accuracy is known from this many rows, or None for other metrics or unknown rows.

    It is the normal approximation of a 95 % interval for independent rows; rows that belong together widen it.
    """
    value = headline(run, run.summary.final)
    rows = {name: getattr(of, run.split, 0) for name, of in (run.summary.sites or {}).items()}
    if run.summary.headline != "accuracy" or value is None or not 0 < value < 1 or not sum(rows.values()):
        return None
    sentence = (
        f"On {counted(sum(rows.values()), f'{run.split} row')}, an accuracy of {metric_value(value)} is known to "
        f"about ± {_margin(value, sum(rows.values())):.2g} (95 %)"
    )
    worst = worst_site(run, run.summary.final)
    if worst and rows.get(worst[0]) and 0 < worst[1] < 1:
        own = rows[worst[0]]
        sentence += f", and the worst site's, on {counted(own, 'row')}, to ± {_margin(worst[1], own):.2g}"
    return sentence + ". Smaller differences may be chance."


def _margin(share: float, rows: int) -> float:
    return 1.96 * math.sqrt(share * (1 - share) / rows)


def key_figures(run: Run) -> Sequence[KeyFigure]:
    """Return the figures that stand at the top of the report."""
    summary = run.summary
    name = metric_name(summary.headline)
    figures = []
    if (value := headline(run, summary.final)) is not None:
        before = headline(run, summary.initial)
        remark = f"{metric_value(before)} before training" if before is not None else f"on all sites' {run.split} rows"
        if bits := bits_per_byte(run, summary.final):
            remark = f"{metric_value(bits)} bits per byte; {remark}"
        figures.append(KeyFigure(f"{name}, all sites", metric_value(value), remark))
    if worst := worst_site(run, summary.final):
        figures.append(KeyFigure(f"{name}, worst site", metric_value(worst[1]), worst[0]))
    figures.append(_rounds(run))
    if trained := summary.tokens.get("trained"):
        speed = summary.tokens.get("per_second")
        remark = f"{amount(speed)} in a second of training" if speed else ""
        figures.append(KeyFigure("tokens trained on", amount(trained), remark))
    sites = run.participant_count
    if sites and summary.bytes.get("up"):
        sent = summary.bytes["up"] / sites
        a_round = f"{byte_size(sent / summary.rounds)} a round" if summary.rounds else ""
        if every_step := bytes_of_steps(run):
            a_round += f"; {times_fewer(every_step / summary.bytes['up'])} times less than fp32 after every step"
        figures.append(KeyFigure("sent by a site", byte_size(sent), a_round))
    if total := summary.seconds.get("total"):
        parts = [
            (summary.seconds.get(part), word) for part, word in (("train", "training"), ("evaluate", "evaluation"))
        ]
        remark = ", ".join(f"{word} {duration(seconds)}" for seconds, word in parts if seconds)
        figures.append(KeyFigure("time", duration(total), remark))
    of = summary.parameters
    share = f"{100 * of.sent / of.total:.3g} % of {of.total:,}" if of.total else ""
    figures.append(KeyFigure("parameters sent", f"{of.sent:,}", share))
    return figures


def try_it(task: str, folder: str) -> str:
    """Return the command that shows what a run's model does."""
    return (
        f'foedus generate {folder} --prompt "your text"'
        if task == "causal_lm"
        else f'foedus predict {folder} "your text"'
    )


def _rounds(run: Run) -> KeyFigure:
    played = [record for record in run.rounds if record.round > 0]
    fallen = sum(not record.stood for record in played)
    remark = counted(run.participant_count, "site")
    if fallen:
        remark += f"; {fallen} did not stand"
    if not run.summary.finished:
        remark += "; not finished"
    return KeyFigure(
        "rounds", f"{len(played):,} of {_planned(run):,}" if not run.summary.finished else f"{len(played):,}", remark
    )


def _planned(run: Run) -> int:
    section = run.config.get("rounds")
    count = section.get("count") if isinstance(section, dict) else None
    return count if isinstance(count, int) else run.summary.rounds
