"""One round, from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from foedus.core import trees
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.federation.collect import (
    Collected,
    CollectedEvaluation,
    Collector,
    RunningSum,
    collect_evaluations,
    collect_updates,
    drive,
)
from foedus.federation.counting import CollectedCounts, collect_counts
from foedus.federation.events import Observer, ParticipantReported, Phase, RoundStarted, ignore
from foedus.federation.messages import (
    Clock,
    DryRound,
    Evaluate,
    Failure,
    LocalUpdate,
    ParticipantId,
    Reply,
    Sums,
    Train,
    TrainAlone,
)
from foedus.federation.protocols import Algorithm, Engine, Guard, ServerState
from foedus.federation.sampling import Sampler

Scores = Mapping[str, float]


@dataclass(frozen=True)
class RoundPlan:
    """How rounds are played.

    rounds: how many the run has. min_reports: with fewer updates a round does not stand.
    evaluate_every: evaluate after every so many rounds, and after the last.
    tell_evaluation: False leaves the figures with the participants whose they are.
    evaluate_initially: evaluate what training starts from, too.
    per_site: whether the sites' own figures are recorded, or sums over them alone.
    hide_cohort: whether records and observers learn nothing of who took part in training, nor how many, what
        they sent, how long it took and who failed: privacy by sampling holds only against those who cannot see it.
    compared: those who train a model of their own beside the run, if the run compares with that. They alone are
        measured then, and what training starts from is measured at the end, with the other models, and not before: no
        model is ever measured on two sets of participants.
    joins, leaves: the first, or the last, round in which a participant is there, counted from 1; others are there
        throughout.
    """

    rounds: int
    min_reports: int = 1
    evaluate_every: int = 1
    tell_evaluation: bool = True
    split: str = "test"
    per_site: bool = True
    evaluate_initially: bool = True
    hide_cohort: bool = False
    compared: Sequence[ParticipantId] = ()
    joins: Mapping[ParticipantId, int] = field(default_factory=dict)
    leaves: Mapping[ParticipantId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hide_cohort and self.min_reports > 0:
            raise ConfigError(
                f"rounds.min_reports is {self.min_reports}, but who takes part is hidden, and a round that does not "
                "stand would tell that few did; use min_reports: 0, so that an empty cohort releases noise"
            )

    def present(self, population: Sequence[ParticipantId], round_number: int) -> Sequence[ParticipantId]:
        """Return those who are there in a round, counted from 1."""
        return tuple(
            name
            for name in population
            if self.joins.get(name, 1) <= round_number <= self.leaves.get(name, round_number)
        )


@dataclass(frozen=True)
class Federation:
    """Everything that a run needs but its state.

    score: turns evaluation statistics, of one site or summed, into metrics.
    guard: keeps count of the privacy that rounds cost, and may forbid one; None where nothing is promised.
    collect, collect_evaluation, collect_counts: how updates, statistics, and counts become their sum; in the clear
        unless told.
    journal: is told what became of every round before its checkpoint is written.
    """

    algorithm: Algorithm
    engine: Engine
    sampler: Sampler
    plan: RoundPlan
    seed: SeedKey
    score: Callable[[Sums], Scores]
    guard: Guard | None = None
    collect: Callable[[Mapping[ParticipantId, Train], RunningSum], Collector[Collected]] = collect_updates
    collect_evaluation: Callable[[Sequence[ParticipantId], Evaluate, int], Collector[CollectedEvaluation]] = (
        lambda cohort, request, _: collect_evaluations(cohort, request)
    )
    collect_counts: Callable[[Sequence[ParticipantId], DryRound, int], Collector[CollectedCounts]] = collect_counts
    journal: Journal | None = None


@dataclass(frozen=True)
class RoundReport:
    """What happened in one round. privacy: what it cost, if somebody keeps count."""

    round: int
    cohort: Sequence[ParticipantId]
    collected: Collected
    reason: str | None
    evaluation: CollectedEvaluation | None
    train_seconds: float
    evaluate_seconds: float
    privacy: Mapping[str, Any] | None = None
    alone_seconds: float = 0.0

    @property
    def stood(self) -> bool:
        """Whether the model changed."""
        return self.reason is None


class Journal(Protocol):
    """Who keeps its own record of the rounds."""

    def note_evaluation(self, evaluation: CollectedEvaluation) -> None:
        """Write down what the evaluation before the first round came to."""
        ...

    def note(self, state: ServerState, report: RoundReport) -> None:
        """Write down what a round came to; state: after it."""
        ...

    def keep(self) -> None:
        """Take note that a checkpoint holds all that was written down."""
        ...


@dataclass(frozen=True)
class Journals:
    """Several that each keep a record of their own."""

    kept: Sequence[Journal]

    def note_evaluation(self, evaluation: CollectedEvaluation) -> None:
        """Tell all of them."""
        for journal in self.kept:
            journal.note_evaluation(evaluation)

    def note(self, state: ServerState, report: RoundReport) -> None:
        """Tell all of them."""
        for journal in self.kept:
            journal.note(state, report)

    def keep(self) -> None:
        """Tell all of them."""
        for journal in self.kept:
            journal.keep()


def play_round(
    federation: Federation, state: ServerState, observe: Observer = ignore
) -> tuple[ServerState, RoundReport]:
    """Play the round after `state.round` rounds; return the new state and what happened.

    With fewer than `min_reports` usable updates the round does not stand: the parameters and all
    memories stay as they were, and the clock goes on. With min_reports 0 the step is taken even if nobody
    reported: the aggregate then holds no trees, and the strategy must know what to do.
    Raises: ConfigError if the strategy's step returns other parameters than the model's; BudgetError if the
        guard forbids the round, with nothing sent or computed.
    """
    started = time.perf_counter()
    algorithm, plan = federation.algorithm, federation.plan
    population = plan.present(federation.engine.population(), state.round + 1)
    cohort = federation.sampler.select(population, federation.seed.child("round", state.round, "cohort"), state.round)
    clock = Clock(state.round, plan.rounds)
    request = Train(algorithm.message(state, clock))
    requests = dict.fromkeys(cohort, request)
    if brief := algorithm.brief_message(state, clock):
        requests |= dict.fromkeys([name for name in cohort if name in state.counted], Train(brief))
    in_turn = algorithm.in_turn(state)
    total = RunningSum(
        averaged_like=algorithm.templates(in_turn, averaged=True),
        summed_like=algorithm.templates(in_turn, averaged=False),
        exact=algorithm.exact_sums,
    )
    guard = federation.guard
    if guard is not None:
        guard.reserve(state.round + 1, requests)
    observe(RoundStarted(state.round + 1, () if plan.hide_cohort else cohort))
    alone_seconds = train_alone(federation, state.round + 1, observe) if plan.compared else 0.0
    notice = None if plan.hide_cohort else announce(observe, state.round + 1, "train", plan.per_site)
    collected = drive(federation.collect(requests, total), federation.engine, notice)

    reason = None
    params, memory = state.params, state.memory
    if total.reports < plan.min_reports:
        reason = f"{total.reports} of {len(cohort)} updates could be used, min_reports is {plan.min_reports}"
        reason = f"{reason}: {collected.reason}" if collected.reason else reason
    else:
        stepped, memory = algorithm.step(state, total.aggregate(len(population)))
        if problem := trees.mismatch(stepped, state.params):
            raise ConfigError(f"the strategy's step did not return the model's parameters: {problem}; mend its `step`")
        params = trees.cast(stepped, like=state.params)
        if not trees.is_finite(params):
            reason, params, memory = "the step led to NaN or infinite parameters", state.params, state.memory
    answered = [name for name in cohort if name not in collected.left_out]
    federation.engine.settle([] if reason else answered)
    privacy = None
    if guard is not None:
        guard.settle(state.round + 1, cohort, answered)
        privacy = guard.record(state.round + 1)
    # only for strategies that ask for it: a checkpoint is no place for who took part
    counted = state.counted if reason or algorithm.changed is None else answered
    after = ServerState(state.round + 1, params, memory, counted)
    trained = time.perf_counter()
    evaluation = evaluate(federation, after, observe) if is_evaluated(plan, after.round) else None
    finished = time.perf_counter()
    seconds = trained - started - alone_seconds, finished - trained
    return after, RoundReport(after.round, cohort, collected, reason, evaluation, *seconds, privacy, alone_seconds)


def train_alone(federation: Federation, round_number: int, observe: Observer = ignore) -> float:
    """Let those who compare train this round alone as well; return the seconds that it took.

    Nothing of it is told but whether it was done. Whoever could not catches up when it is asked again.
    """
    started, plan = time.perf_counter(), federation.plan
    request = TrainAlone(Clock(round_number - 1, plan.rounds))
    present = plan.present([name for name in federation.engine.population() if name in plan.compared], plan.rounds)
    notice = announce(observe, round_number, "alone", plan.per_site)
    for sender, reply in federation.engine.exchange(dict.fromkeys(present, request)):
        notice(sender, reply)
    return time.perf_counter() - started


def is_evaluated(plan: RoundPlan, rounds_over: int) -> bool:
    """Return whether an evaluation follows after so many rounds."""
    return rounds_over % plan.evaluate_every == 0 or rounds_over == plan.rounds


def evaluate(federation: Federation, state: ServerState, observe: Observer = ignore) -> CollectedEvaluation:
    """Evaluate the parameters on the own split of everybody who was there in the last round, or is in the first."""
    plan = federation.plan
    compare = bool(plan.compared) and state.round == plan.rounds
    request = Evaluate(state.params, plan.split, state.round, plan.tell_evaluation, compare)
    notice = announce(observe, state.round, "evaluate", federation.plan.per_site)
    present = federation.plan.present(federation.engine.population(), max(state.round, 1))
    if plan.compared:
        present = [name for name in present if name in plan.compared]
    if not plan.tell_evaluation:  # there is nothing to sum
        return drive(collect_evaluations(present, request), federation.engine, notice)
    return drive(federation.collect_evaluation(present, request, state.round), federation.engine, notice)


def announce(
    observe: Observer, round_number: int, phase: Phase, per_site: bool
) -> Callable[[ParticipantId, Reply], None]:
    """Return a function that tells the observer of each reply; losses and times only where sites' figures may show."""
    started = time.perf_counter()

    def notice(sender: ParticipantId, reply: Reply) -> None:
        nonlocal started
        seconds, started = time.perf_counter() - started, time.perf_counter()
        loss = reply.metrics.get("loss") if per_site and isinstance(reply, LocalUpdate) else None
        failure = reply.reason if isinstance(reply, Failure) else None
        observe(ParticipantReported(round_number, sender, phase, loss, seconds if per_site else None, failure))

    return notice
