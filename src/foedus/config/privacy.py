"""From the privacy section to plans: what is clipped, what noise is added, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar, assert_never

from foedus.config import sections
from foedus.config.distributed import check_spending, distributed_plans
from foedus.core.errors import ConfigError
from foedus.federation.messages import ParticipantId
from foedus.privacy import accounting, plan
from foedus.privacy.buffer_fit import fitted_buffers
from foedus.privacy.clipping_rules import AdaptiveClip, Clip, FixedClip
from foedus.privacy.factors import BandedSquareRoot, BufferedToeplitz
from foedus.privacy.plan import CohortPlan, DistributedPlan, RecordPlan, StreamPlan

AnyPlan = TypeVar("AnyPlan", RecordPlan, CohortPlan, StreamPlan, DistributedPlan)
Plans = Mapping[ParticipantId, RecordPlan] | CohortPlan | StreamPlan | DistributedPlan


def build_plans(
    config: sections.RunConfig, records: Mapping[ParticipantId, int], upload: Callable[[], int]
) -> Plans | None:
    """Return how records, or participants, are hidden; None without differential privacy.

    records: how many training examples each participant has. upload: how many numbers an upload has.
    """
    match config.privacy:
        case sections.NoPrivacy():
            return None
        case sections.RecordPrivacy() as privacy:
            return record_plans(config, privacy, records)
        case sections.ParticipantPrivacy() as privacy:
            return participant_plan(config, privacy, len(records), upload)
        case _:
            assert_never(config.privacy)


def is_reproducible(privacy: sections.Privacy) -> bool:
    """Return whether all noise follows from the run's seed, so that nothing is private."""
    return not isinstance(privacy, sections.NoPrivacy) and privacy.noise == "reproducible"


def record_plans(
    config: sections.RunConfig, privacy: sections.RecordPrivacy, records: Mapping[ParticipantId, int]
) -> Mapping[ParticipantId, RecordPlan]:
    """Return each participant's plan: with epsilon given, each has the noise that its own number of records needs.

    records: how many each one trains on; those with none have no plan.
    Raises: ConfigError if a batch is larger than somebody's data, or epsilon cannot be had.
    """
    return {name: _record_plan(config, privacy, name, count) for name, count in records.items() if count > 0}


def participant_plan(
    config: sections.RunConfig, privacy: sections.ParticipantPrivacy, population: int, upload: Callable[[], int]
) -> CohortPlan | StreamPlan | DistributedPlan:
    """Return the federation's plan: with epsilon given, with the least noise that keeps to it.

    upload: how many numbers an upload has.
    Raises: ConfigError if epsilon cannot be had, or the participants are too few for the schedule.
    """
    delta = plan.default_delta(population) if privacy.delta == "auto" else privacy.delta
    rounds, cohort, clip = config.rounds.count, config.rounds.cohort, _clip(privacy.clip)
    if isinstance(mechanism := privacy.mechanism, sections.Distributed):
        assert isinstance(clip, FixedClip), "problems() refuses another"
        plan_of = distributed_plans(config, mechanism, clip, population=population, delta=delta, length=upload())
        return check_spending(_least_noise(privacy, rounds, plan_of), rounds)
    match privacy.mechanism, cohort:
        case sections.Cohorts(), sections.Poisson(rate=rate, cap=cap):

            def of_cohorts(noise_multiplier: float) -> CohortPlan:
                return CohortPlan(noise_multiplier, clip, delta, population, rate, cap)

            return _least_noise(privacy, rounds, of_cohorts)
        case sections.Stream() as stream, sections.Cyclic():
            assert isinstance(clip, FixedClip), "problems() refuses another"
            separation = min(cohort.separation, rounds)
            factor, norm = _factor(stream, rounds, separation), clip

            def of_a_stream(noise_multiplier: float) -> StreamPlan:
                return StreamPlan(
                    noise_multiplier,
                    norm,
                    delta,
                    population,
                    cohort=max(1, population // separation),
                    rounds=rounds,
                    min_separation=separation,
                    max_participations=math.ceil(rounds / separation),
                    factor=factor,
                )

            return _least_noise(privacy, rounds, of_a_stream)
    raise AssertionError("problems() refuses other cohorts")


def _record_plan(
    config: sections.RunConfig, privacy: sections.RecordPrivacy, name: ParticipantId, records: int
) -> RecordPlan:
    batch = config.local.batch_size * config.local.accumulation
    if batch > records:
        raise ConfigError(
            f"local.batch_size times local.accumulation is {batch}, but {name} has {records} training records, and "
            f"private batches are drawn from them by coins; use at most {records}, and far fewer for sampling to "
            "protect anybody"
        )
    delta = plan.default_delta(records) if privacy.delta == "auto" else privacy.delta

    def plan_of(noise_multiplier: float) -> RecordPlan:
        return RecordPlan(
            unit="record" if privacy.record == "row" else "block",
            noise_multiplier=noise_multiplier,
            clip_norm=privacy.clip_norm,
            sampling_rate=batch / records,
            steps_per_round=private_steps(config.local, records),
            delta=delta,
            records=records,
        )

    return _least_noise(privacy, config.rounds.count, plan_of)


def _least_noise(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, rounds: int, plan_of: Callable[[float], AnyPlan]
) -> AnyPlan:
    """Return the plan with the noise that is given, or with the least that keeps to the epsilon given."""
    if privacy.noise_multiplier is not None:
        return plan_of(privacy.noise_multiplier)
    assert privacy.epsilon is not None, "problems() refuses neither"
    return accounting.calibrate(privacy.epsilon, rounds, plan_of)


def private_steps(local: sections.Local, records: int) -> int:
    """Return the steps of a round: those given, or as many as make that many passes over the records on average."""
    if local.steps is not None:
        return local.steps
    assert local.epochs is not None, "a resolved configuration has one of the two"
    return math.ceil(local.epochs * records / (local.batch_size * local.accumulation))


def _factor(stream: sections.Stream, rounds: int, separation: int) -> BandedSquareRoot | BufferedToeplitz:
    match stream.factorization:
        case "banded":
            return BandedSquareRoot(stream.band or separation)
        case "blt":
            return fitted_buffers(rounds, separation, math.ceil(rounds / separation))


def _clip(clip: sections.Clip) -> Clip:
    match clip:
        case sections.FixedClip():
            return FixedClip(clip.norm)
        case sections.AdaptiveClip():
            return AdaptiveClip(clip.initial, clip.quantile, clip.rate)
        case _:
            assert_never(clip)
