"""Differential privacy: whose presence is hidden, how well, and by what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from foedus.config.sections.section import Number, Section, Share, Whole, Word, kinds

Positive = Annotated[Number, Field(gt=0)]
Delta = Annotated[Number, Field(gt=0, lt=1)]


class NoPrivacy(Section):
    """No differential privacy: what the model has learnt of a single record is not bounded."""

    kind: Literal["none"] = "none"


class _Privacy(Section):
    """What both units of privacy share."""

    epsilon: Positive | None = None
    """What the whole run may spend; the noise follows from it. Give this or noise_multiplier."""
    noise_multiplier: Positive | None = None
    """Standard deviation of the noise over the clip norm; what is spent follows from it."""
    delta: Literal["auto"] | Delta = "auto"
    """The chance that epsilon does not hold; it must be less than 1 / n. auto: 1 / (10 n)."""
    evaluation: Literal["off", "public"] = "off"
    """public: held-out rows are nobody's secret, and exact figures over all sites together are shown. off: none are:
    exact figures on private rows are not covered by epsilon."""
    noise: Literal["secret", "reproducible"] = "secret"
    """reproducible: noise and sampling follow from the run's seed, for experiments on public data; who knows the
    seed can take the noise away, so that nothing is private, and everything the run writes says so."""
    budget: Word | None = None
    """The ledger's name for these data: runs that name the same add up. Left out: where the data come from."""


class RecordPrivacy(_Privacy):
    """Hides each record: participants train with gradients that are clipped record by record, plus noise (DP-SGD,
    Abadi et al. 2016). It holds against everybody else, the coordinator included.
    """

    kind: Literal["records"] = "records"
    clip_norm: Positive = 0.1
    """The largest L2 norm of one record's gradient, over all trained parameters."""
    record: Literal["row", "block"] = "row"
    """For language models. row: a row of the data, cut to max_length. block: max_length tokens of packed rows, which
    does not protect a row that spans several blocks."""
    sizes: Literal["private", "public"] = "private"
    """public: how many rows each participant has is no secret, so that strategy.weighting may use it."""
    person_at: Literal["one_participant", "several_participants"] = "one_participant"
    """Whether somebody's records may lie at several participants, so that what these spend adds up."""


class FixedClip(Section):
    """The same clip norm in every round."""

    kind: Literal["fixed"] = "fixed"
    norm: Positive = 0.1
    """The largest L2 norm of a participant's whole upload."""


class AdaptiveClip(Section):
    """A clip norm that follows a quantile of the uploads' norms (Andrew et al. 2021)."""

    kind: Literal["adaptive"] = "adaptive"
    initial: Positive = 0.1
    """The clip norm of the first round."""
    quantile: Share = 0.5
    """The share of uploads that shall be below the clip norm."""
    rate: Positive = 0.2
    """How fast it moves, in logarithms a round."""


Clip = Annotated[
    FixedClip | AdaptiveClip,
    Field(discriminator="kind", description="How the largest norm of an upload is chosen."),
    kinds("fixed"),
]


class Cohorts(Section):
    """Fresh noise in every round, and cohorts drawn by secret coins, so that who took part is hidden: rounds.cohort
    poisson.
    """

    kind: Literal["cohorts"] = "cohorts"


class Stream(Section):
    """Noise that is correlated over the rounds (DP-FTRL), for cohorts that cannot be drawn secretly: rounds.cohort
    cyclic.
    """

    kind: Literal["stream"] = "stream"
    factorization: Literal["banded", "blt"] = "banded"
    """banded: the square root of the sum over rounds, cut to a band. blt: a few buffered sums, whose memory does not
    grow with the band."""
    band: Annotated[Whole, Field(ge=1)] | None = None
    """Rounds that share noise; at most the separation between a participant's rounds. Left out: that separation."""


class Distributed(Section):
    """Every participant adds its share of the noise itself, under secure_sum: masks, so that the coordinator sees
    noised sums alone (Kairouz, Liu, Steinke 2021). The fewer the secure sum lets stay (min_cohort, threshold), the
    more noise each one adds. Who takes part is no secret, and sampling does not count.
    """

    kind: Literal["distributed"] = "distributed"
    distribution: Literal["discrete_gaussian", "skellam"] = "discrete_gaussian"
    """The noise; the two cost nearly the same (Agarwal, Kairouz, Liu 2021)."""
    bits: Annotated[Whole, Field(ge=8, le=16)] = 16
    """Of a coordinate of the sum; fewer make a coarser grid, so that uploads get longer and epsilon larger. It travels
    in a byte up to 8, and in two above."""
    colluders: Annotated[Whole, Field(ge=0)] = 1
    """How many participants may join what they know, their own noise among it, with each other and the coordinator. 1
    covers the coordinator and any single participant; 0 covers no participant, for each knows its own noise."""


Mechanism = Annotated[
    Cohorts | Stream | Distributed,
    Field(discriminator="kind", description="How noise and participation go together."),
    kinds("cohorts"),
]


class ParticipantPrivacy(_Privacy):
    """Hides each participant: uploads are clipped as a whole, and their sum gets noise (DP-FedAvg, McMahan et al.
    2018). With noise of the coordinator it holds against those who see the model; with mechanism distributed, against
    the coordinator too. It takes hundreds of participants to be of use.
    """

    kind: Literal["participants"] = "participants"
    clip: Clip = FixedClip()
    mechanism: Mechanism = Cohorts()


Privacy = Annotated[
    NoPrivacy | RecordPrivacy | ParticipantPrivacy,
    Field(discriminator="kind", description="Whose presence in the data is hidden, and how well."),
    kinds("none"),
]
