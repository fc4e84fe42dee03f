"""Where a run stands, as one immutable value that every event moves on, and the lines that tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foedus.federation.events import (
    Event,
    ParticipantReported,
    Phase,
    RoundEnded,
    RoundStarted,
    RunEnded,
    RunStarted,
)
from foedus.reporting.costs import bytes_of_steps
from foedus.reporting.phrasing import (
    amount,
    byte_size,
    counted,
    duration,
    metric_name,
    metric_value,
    printable,
    roughly,
    times_fewer,
)
from foedus.reporting.records import Run, read_run
from foedus.reporting.verdicts import try_it, verdict


@dataclass(frozen=True)
class Watch:
    """Where a run stands. Times are a monotonic clock's seconds.

    round: the one being played; 0 before the first. done, expected: participants in this phase.
    measured: how long the rounds that this process played took. latest: the newest record with an evaluation.
    trained_alone: whether participants have trained alone in this round.
    """

    run: RunStarted
    round: int = 0
    phase: Phase = "train"
    done: int = 0
    expected: int = 0
    report: ParticipantReported | None = None
    round_began: float | None = None
    measured: Sequence[float] = ()
    latest: Mapping[str, Any] | None = None
    trained_alone: bool = False

    def part_of_round(self) -> float:
        """Return how much of the round at work is over, in [0, 1]; evaluation counts for a fifth.

        Where participants train alone before, that is half of the rest.
        """
        if self.round_began is None or not self.expected:
            return 0.0
        part = min(self.done / self.expected, 1.0)
        if self.phase == "evaluate":
            return 0.8 + 0.2 * part
        if self.phase == "alone":
            return 0.4 * part
        return 0.4 + 0.4 * part if self.trained_alone else 0.8 * part

    def seconds_left(self, now: float) -> float | None:
        """Return the time that the rounds to come will take if they take what the measured ones took."""
        if not self.measured:
            return None
        a_round = sum(self.measured) / len(self.measured)
        rounds = self.run.rounds - self.round + (1 if self.round_began is not None else 0)
        spent = now - self.round_began if self.round_began is not None else 0.0
        return max(0.0, rounds * a_round - min(spent, a_round))


def watch(state: Watch | None, event: Event, now: float) -> Watch | None:
    """Return where the run stands after the event; None before a run has started and after it has ended."""
    match event:
        case RunStarted():
            return Watch(event, round=event.first_round - 1)
        case RunEnded():
            return None
    if state is None:
        return None
    match event:
        case RoundStarted():
            return replace(
                state,
                round=event.round,
                phase="train",
                done=0,
                expected=len(event.cohort),
                report=None,
                round_began=now,
                trained_alone=False,
            )
        case ParticipantReported():
            return _reported(state, event)
        case RoundEnded():
            took = [now - state.round_began] if state.round_began is not None else []
            latest = event.record if event.record.get("evaluation") else state.latest
            return replace(state, round_began=None, report=None, measured=[*state.measured, *took], latest=latest)


def _reported(state: Watch, event: ParticipantReported) -> Watch:
    if event.phase != state.phase:  # evaluation follows training, and asks the whole population
        alone = state.trained_alone or event.phase == "alone"
        state = replace(state, phase=event.phase, done=0, expected=len(state.run.participants), trained_alone=alone)
    if event.phase == "evaluate" and not state.expected:
        state = replace(state, expected=len(state.run.participants))
    return replace(state, done=state.done + 1, report=event)


def start_line(event: RunStarted) -> str:
    """Return one line on the run that starts."""
    rounds = counted(event.rounds, "round")
    if event.first_round > event.rounds:
        return printable(
            f"{event.name}: its {rounds} are over, so nothing is trained; the model and the report are written again. "
            "To train on, start another run with this run's model folder as model.path"
        )
    if event.first_round > 1:
        rounds += f", going on with round {event.first_round:,}"
    sites = counted(len(event.participants), "site")
    sent = counted(event.parameters_sent, "parameter")
    return printable(f"{event.name}: {sites}, {rounds}, {sent} sent a round, on {event.device}")


def round_lines(state: Watch, record: Mapping[str, Any], now: float) -> Sequence[str]:
    """Return what a terminal shows of a round that is over: one line, and one for each trouble."""
    number = record["round"]
    parts = [*_figures(state.run, record)]
    if number == 0:
        return [f"before training: {', '.join(parts) or 'not evaluated'}"]
    if not record.get("cohort_hidden"):
        parts.append(f"{record.get('reports', 0)} of {counted(len(record.get('cohort', ())), 'site')}")
        seconds = record.get("seconds", {})
        parts.append(duration(sum(seconds.values())))
        if (tokens := record.get("tokens")) and seconds.get("train"):
            parts.append(f"{amount(tokens / seconds['train'])} tokens/s")
    if (left := state.seconds_left(now)) is not None and number < state.run.rounds:
        parts.append(f"about {roughly(left)} left")
    lines = [f"round {number:,} of {state.run.rounds:,}: {', '.join(parts)}"]
    if not record.get("stood", True):
        lines.append(f"  round {number:,} did not stand: {record.get('reason') or 'no reason told'}")
    evaluation = record.get("evaluation") or {}
    for phase, left_out in (("training", record.get("left_out")), ("evaluation", evaluation.get("left_out"))):
        lines += [f"  {name} left out of {phase}: {why}" for name, why in (left_out or {}).items()]
    return [printable(line) for line in lines]


def _figures(run: RunStarted, record: Mapping[str, Any]) -> Sequence[str]:
    evaluated = (record.get("evaluation") or {}).get("all") or {}
    parts = []
    if run.headline in evaluated:
        parts.append(f"{metric_name(run.headline)} {metric_value(_number(evaluated[run.headline]))}")
    if "bits_per_byte" in evaluated and run.headline != "bits_per_byte":
        parts.append(f"{metric_value(_number(evaluated['bits_per_byte']))} bits per byte")
    elif "loss" in evaluated and run.headline != "loss":
        parts.append(f"loss {metric_value(_number(evaluated['loss']))}")
    if "loss" in (record.get("train") or {}):
        parts.append(f"training loss {metric_value(_number(record['train']['loss']))}")
    return parts


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _spent(run: Run) -> Sequence[str]:
    """Return one line on the tokens trained on and the bytes sent, where the run tells them."""
    sent, tokens = run.summary.bytes, run.summary.tokens
    parts = [f"{amount(trained)} tokens trained on"] if (trained := tokens.get("trained")) else []
    if sent.get("up") and sent.get("down"):
        parts.append(f"{byte_size(sent['up'])} sent up and {byte_size(sent['down'])} down")
    if parts and sent.get("up") and (every_step := bytes_of_steps(run)):
        fewer = [every_step / sent["up"], 2 * every_step / (sent["up"] + sent["down"])]
        parts.append("{} times less up and {} in all than fp32 after every step".format(*map(times_fewer, fewer)))
    return [f"{'spent':<7} {', '.join(parts)}"] if parts else []


def closing_lines(event: RunEnded) -> Sequence[str]:
    """Return the last words of a run: its result, where its files are, and what to do next."""
    run = read_run(event.folder)
    lines = ["", verdict(run)]
    if run.summary.stopped:
        lines.append(f"ended early: {run.summary.stopped}")
    lines += _spent(run)
    places = [("report", event.report), ("model", event.model)]
    lines += [f"{name:<7} {place}" for name, place in places if place is not None]
    if event.model is not None:
        lines.append(f"{'try it':<7} {try_it(run.summary.task, str(event.folder))}")
    return [printable(line) for line in lines]
