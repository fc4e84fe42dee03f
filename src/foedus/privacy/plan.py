"""What is protected and how: clip, noise, sampling and the accountant's event from the same fields.

Noise multipliers are those that the accountant sees: the standard deviation over the sensitivity of all that
one use releases. What to add to what, and what to divide by, are properties of the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from foedus.core.errors import ConfigError
from foedus.privacy.clipping_rules import AdaptiveClip, Clip, FixedClip, check_norm, update_multiplier
from foedus.privacy.distributed.draws import Distribution
from foedus.privacy.distributed.grid import NoisedGrid
from foedus.privacy.distributed.rotation import padded_length
from foedus.privacy.events import (
    Charge,
    CorrelatedGaussian,
    DistributedGaussian,
    DistributedSkellam,
    Event,
    Gaussian,
    PoissonGaussian,
    TruncatedPoissonGaussian,
)
from foedus.privacy.factors import BandedSquareRoot, BufferedToeplitz, sensitivity

Unit = Literal["record", "block", "participant"]

PLURAL: Mapping[Unit, str] = {"record": "records", "block": "blocks", "participant": "participants"}
# A cap nearer to the expected cohort than so many standard deviations bites too often.
LEAST_CAP_MARGIN = 4


@dataclass(frozen=True)
class RecordPlan:
    """DP-SGD at one participant: Poisson batches of its own records, each record's gradient clipped, noise on the sum.

    unit: "record", or "block": a piece of a document, which leaves documents that span blocks unprotected.
    sampling_rate: each record's chance to be in a batch. records: how many this participant trains on.
    steps_per_round: batches a round, empty ones included.
    Source: Abadi et al. 2016, arXiv:1607.00133.
    """

    unit: Literal["record", "block"]
    noise_multiplier: float
    clip_norm: float
    sampling_rate: float
    steps_per_round: int
    delta: float
    records: int

    def __post_init__(self) -> None:
        _check_count(PLURAL[self.unit], self.records)
        _check_count("steps_per_round", self.steps_per_round)
        _check_noise(self.noise_multiplier)
        check_norm("clip_norm", self.clip_norm)
        check_rate(self.sampling_rate, self.records, PLURAL[self.unit])
        check_delta(self.delta, self.records, PLURAL[self.unit])

    @property
    def expected_batch(self) -> float:
        """What a noised sum of gradients is divided by, however many records the batch holds."""
        return self.sampling_rate * self.records

    @property
    def noise_stddev(self) -> float:
        """The standard deviation of the noise on each coordinate of the *sum* of clipped gradients."""
        return self.noise_multiplier * self.clip_norm

    def event(self, rounds: int = 1) -> Event:
        """Return what one step costs every record of the participant."""
        return _sampled(self.noise_multiplier, self.sampling_rate, self.records, None)

    def uses(self, rounds: int) -> int:
        """Return how often the event happens in so many rounds."""
        return rounds * self.steps_per_round


@dataclass(frozen=True)
class CohortPlan:
    """Participant level: each whole upload is clipped, noise goes on the sum over a Poisson-sampled cohort.

    rate: each participant's chance to be in a cohort; 1 is everyone, every round.
    cap: the most that may take part; of a larger sample a random subset of that size does. None: no cap.
    Source: McMahan et al. 2018, arXiv:1710.06963.
    """

    noise_multiplier: float
    clip: Clip
    delta: float
    population: int
    rate: float
    cap: int | None = None

    def __post_init__(self) -> None:
        _check_count("participants", self.population)
        _check_noise(self.noise_multiplier)
        check_rate(self.rate, self.population, "participants")
        check_delta(self.delta, self.population, "participants")
        if self.cap is not None:
            _check_cap(self.cap, self.population, self.rate)
        if isinstance(self.clip, AdaptiveClip):
            update_multiplier(self.noise_multiplier, self.count_stddev)

    @property
    def unit(self) -> Literal["participant"]:
        """What is protected: all that one participant ever contributes."""
        return "participant"

    @property
    def expected_cohort(self) -> float:
        """What a noised sum is divided by, however many took part: their true number is private."""
        return self.rate * self.population

    @property
    def update_multiplier(self) -> float:
        """The noise on the sum of updates over the clipping norm of the round.

        With adaptive clipping it is more than `noise_multiplier`, which pays for the noised count too.
        """
        if isinstance(self.clip, FixedClip):
            return self.noise_multiplier
        return update_multiplier(self.noise_multiplier, self.count_stddev)

    @property
    def count_stddev(self) -> float:
        """The noise on the sum over the cohort of (1 if within the norm else 0) - 1/2; 0 with a fixed clip."""
        if isinstance(self.clip, FixedClip):
            return 0.0
        return self.clip.count_stddev or self.expected_cohort / 20

    def event(self, rounds: int = 1) -> Event:
        """Return what one round costs every participant, in the cohort or not."""
        return _sampled(self.noise_multiplier, self.rate, self.population, self.cap)

    def uses(self, rounds: int) -> int:
        """Return how often the event happens in so many rounds."""
        return rounds


@dataclass(frozen=True)
class StreamPlan:
    """Participant level without trust in sampling (DP-FTRL): noise correlated over rounds, participation limited.

    cohort: how many are to take part in a round; what a noised sum is divided by.
    min_separation: rounds from one participation to the next, at least; participants enforce it themselves.
    max_participations: in the whole run, at most.
    rounds: the stream's length, which is decided beforehand; a shorter run is covered.
    Source: Kairouz et al. 2021, arXiv:2103.00039.
    """

    noise_multiplier: float
    clip: FixedClip
    delta: float
    population: int
    cohort: int
    rounds: int
    min_separation: int
    max_participations: int
    factor: BandedSquareRoot | BufferedToeplitz

    def __post_init__(self) -> None:
        for name in ("population", "cohort", "rounds", "min_separation", "max_participations"):
            _check_count(name, getattr(self, name))
        _check_noise(self.noise_multiplier)
        check_delta(self.delta, self.population, "participants")
        _check_schedule(self)

    @property
    def unit(self) -> Literal["participant"]:
        """What is protected: all that one participant contributes, within the schema."""
        return "participant"

    @property
    def expected_cohort(self) -> float:
        """What a noised sum is divided by, however many took part."""
        return float(self.cohort)

    @property
    def independent_stddev(self) -> float:
        """The standard deviation of the independent noise that is then correlated over rounds."""
        return self.noise_multiplier * self._sensitivity(self.rounds) * self.clip.norm

    def event(self, rounds: int | None = None) -> Event:
        """Return what the releases of the first so many rounds cost together, or of the whole stream."""
        released = self.rounds if rounds is None else min(rounds, self.rounds)
        return CorrelatedGaussian(
            self.noise_multiplier * self._sensitivity(self.rounds) / self._sensitivity(released),
            released,
            self.min_separation,
            self.max_participations,
        )

    def uses(self, rounds: int) -> int:
        """Return 1 for any number of rounds: the event holds all of them.

        Raises: ConfigError for more rounds than the stream has.
        """
        if rounds > self.rounds:
            raise ConfigError(
                f"correlated noise: the stream was planned for {self.rounds} rounds, and {rounds} are asked for; "
                "plan the stream for as many rounds as the run has"
            )
        return min(rounds, 1)

    def _sensitivity(self, rounds: int) -> float:
        return sensitivity(self.factor, rounds, self.min_separation, self.max_participations)


@dataclass(frozen=True)
class DistributedPlan:
    """Participant level without trust in the coordinator: each participant adds its share of the noise, under masks.

    population: all participants. cohort: the most in one sum. survivors: the fewest in a sum that is opened.
    colluders: of these, how many may tell others their noise, or use their own to take it off.
    separation: rounds in each of which a participant takes part once at most; it enforces that itself.
    bits: of a coordinate of the sum. length: numbers that an upload has.
    There is no amplification by sampling: the coordinator and all participants see who takes part.
    Source: Kairouz, Liu, Steinke 2021, arXiv:2102.06387; Agarwal, Kairouz, Liu 2021, arXiv:2110.04995.
    """

    noise_multiplier: float
    clip: FixedClip
    delta: float
    population: int
    cohort: int
    survivors: int
    colluders: int
    separation: int
    distribution: Distribution
    bits: int
    length: int

    def __post_init__(self) -> None:
        for name in ("population", "cohort", "survivors", "separation", "length"):
            _check_count(name, getattr(self, name))
        _check_noise(self.noise_multiplier)
        check_delta(self.delta, self.population, "participants")
        if not 0 <= self.colluders < self.survivors <= self.cohort <= self.population:
            raise ConfigError(
                f"privacy: {self.colluders} of {self.survivors} participants collude, of at most {self.cohort} in a "
                f"sum and {self.population} in all; more must stay in a sum than collude, and no more than there are"
            )

    @property
    def unit(self) -> Literal["participant"]:
        """What is protected: all that one participant uploads in the whole run."""
        return "participant"

    @property
    def honest(self) -> int:
        """How many add noise that nobody else knows, at least. Together they make the noise that is counted."""
        return self.survivors - self.colluders

    @property
    def grid(self) -> NoisedGrid:
        """The integer grid of a round's sum."""
        return NoisedGrid(self.noise_multiplier, self.cohort, self.honest, self.bits, padded_length(self.length))

    @property
    def expected_cohort(self) -> float:
        """How many are in a sum if nobody vanishes."""
        return float(self.cohort)

    @property
    def sum_multiplier(self) -> float:
        """The noise on the sum if nobody vanishes, over the clipping norm: more than what is counted on."""
        return self.noise_multiplier * math.sqrt(self.cohort / self.honest)

    def event(self, rounds: int = 1) -> Event:
        """Return what one round costs a participant that takes part in it."""
        kind = DistributedGaussian if self.distribution == "discrete_gaussian" else DistributedSkellam
        return kind(self.noise_multiplier, self.cohort, self.honest, self.bits, padded_length(self.length))

    def uses(self, rounds: int) -> int:
        """Return how often a participant takes part in so many rounds, at most."""
        return math.ceil(rounds / self.separation)

    def by_participation(self) -> DistributedPlan:
        """Return the plan as a participant's own ledger counts: each of its rounds costs one use."""
        return replace(self, separation=1)


Plan = RecordPlan | CohortPlan | StreamPlan | DistributedPlan


def charges(plan: Plan, rounds: int) -> tuple[Charge, ...]:
    """Return all that the first `rounds` rounds cost, as events and how often each happened."""
    uses = plan.uses(rounds)
    return ((plan.event(rounds), uses),) if uses else ()


def default_delta(units: int) -> float:
    """Return 1 / (10 units), rounded down to one digit.

    >>> default_delta(2000), default_delta(1234)
    (5e-05, 8e-05)
    """
    _check_count("units", units)
    exact = Decimal(1) / (10 * units)
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted()), ROUND_DOWN))


def check_delta(delta: float, units: int, of_what: str) -> None:
    """Raise ConfigError unless 0 < delta < 1/units: a larger delta allows to publish somebody's data whole."""
    if not 0 < delta < 1 / units:
        raise ConfigError(
            f"privacy.delta is {delta} for {units:,} {of_what}; it lies above 0 and under 1/{units} = {1 / units:.3g}, "
            "because a delta of 1/n allows to publish one of n whole. "
            f"Use delta: auto, which is {default_delta(units):g}"
        )


def check_rate(rate: float, units: int, of_what: str) -> None:
    """Raise ConfigError unless the sampling rate lies in (0, 1]."""
    if not rate > 0:
        raise ConfigError(f"privacy: the sampling rate of {of_what} is {rate}; it lies above 0 and up to 1")
    if rate > 1:
        raise ConfigError(
            f"privacy: {rate * units:,.0f} of {units:,} {of_what} are to be sampled at a time, more than there are; "
            f"use at most {units:,}, and far fewer for sampling to protect anybody"
        )


def _sampled(noise_multiplier: float, rate: float, population: int, cap: int | None) -> Event:
    if rate == 1:
        return Gaussian(noise_multiplier)
    if cap is None or cap >= population:
        return PoissonGaussian(noise_multiplier, rate)
    return TruncatedPoissonGaussian(noise_multiplier, rate, population, cap)


def _check_noise(noise_multiplier: float) -> None:
    if not (noise_multiplier > 0 and math.isfinite(noise_multiplier)):
        raise ConfigError(
            f"privacy.noise_multiplier is {noise_multiplier}; it is a finite number above 0. "
            "Without noise nothing is protected: remove the privacy section, or give epsilon and let it be computed"
        )


def _check_count(name: str, count: int) -> None:
    if count < 1:
        raise ConfigError(f"privacy: {name} is {count}; it is at least 1")


def _check_cap(cap: int, population: int, rate: float) -> None:
    least = rate * population + LEAST_CAP_MARGIN * math.sqrt(population * rate * (1 - rate))
    if cap < min(least, population):
        raise ConfigError(
            f"privacy: at most {cap} participants may take part in a round, and {rate * population:.1f} are expected; "
            f"where the cap often bites, one participant displaces another and epsilon explodes. "
            f"Use a cap of at least {math.ceil(min(least, population))}, none, or a lower rate"
        )


def _check_schedule(plan: StreamPlan) -> None:
    """Raise ConfigError if no schedule can fill every round."""
    apart = plan.population // min(plan.min_separation, plan.rounds)
    often = plan.population * min(plan.max_participations, math.ceil(plan.rounds / plan.min_separation)) // plan.rounds
    if plan.cohort > min(apart, often):
        raise ConfigError(
            f"correlated noise: {plan.cohort} of {plan.population} participants a round for {plan.rounds} rounds, "
            f"each at most {plan.max_participations} times and at least {plan.min_separation} rounds apart, "
            f"cannot be had; use a cohort of at most {min(apart, often)}, a smaller min_separation "
            "or more max_participations"
        )
