"""Differential privacy between organisations: what both sides derive alike, and what there is none of there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from foedus.config import sections
from foedus.config.bounded_range import with_bounded_range
from foedus.config.privacy import participant_plan, private_steps, record_plans
from foedus.config.secure_problems import hides_cohorts
from foedus.config.secure_sums import adds_noise
from foedus.config.side import Side
from foedus.privacy.plan import DistributedPlan, default_delta

_ANYONE = "a participant"
_LEAST_DELTA = default_delta(1 << 30)  # nobody has more records


def undeployable_privacy(config: sections.RunConfig) -> Iterator[str]:
    """Yield what keeps the privacy section from working between organisations."""
    privacy = config.privacy
    if hides_cohorts(privacy):
        yield (
            "privacy.mechanism: cohorts and stream do not work between organisations: the coordinator would see "
            "every upload before it adds noise, everybody who sees its connections would see the cohorts, and its "
            "ledger cannot know whose rows a budget is for; use privacy.mechanism distributed, or privacy: records"
        )
    if isinstance(privacy, sections.RecordPrivacy) and privacy.epsilon is None and privacy.sizes == "private":
        yield (
            "privacy.noise_multiplier: what it costs follows from each organisation's number of rows, which "
            "privacy.sizes: private keeps from the coordinator; give privacy.epsilon, or sizes: public"
        )


def agreed_noise(side: Side) -> DistributedPlan | None:
    """Return how participants add noise to their uploads; None if they do not. All sides derive the same.

    Raises: ConfigError if epsilon cannot be had.
    """
    privacy = side.config.privacy
    if not adds_noise(privacy):
        return None
    assert isinstance(privacy, sections.ParticipantPrivacy), "it is participants that add noise"
    plan = participant_plan(side.config, privacy, len(side.ground.participants), side.uploaded_numbers)
    assert isinstance(plan, DistributedPlan), "they add it themselves"
    return plan


def with_agreed_range(side: Side) -> Side:
    """Return the side of a run that hides records with the range of values under secure_sum, if it is left out.

    It is that of a participant with the most noise and steps that any may have, so that nobody's own is told.
    Raises: ConfigError if nothing bounds it.
    """
    privacy, config, bound = side.config.privacy, side.config, side.ground.weight_bound
    if not needs_agreed_range(config):
        return side
    assert isinstance(privacy, sections.RecordPrivacy), "it is of records"
    batch = config.local.batch_size * config.local.accumulation
    strictest = privacy.model_copy(update={"delta": _LEAST_DELTA}) if privacy.delta == "auto" else privacy
    local = config.local.model_copy(update={"steps": private_steps(config.local, max(bound, batch)), "epochs": None})
    fixed = config.model_copy(update={"local": local}).rooted(config.root)
    plan = record_plans(fixed, strictest, {_ANYONE: batch})[_ANYONE]  # a batch of all records is not amplified
    return replace(side, config=with_bounded_range(config, side.settings, side.initial, bound, [plan]))


def needs_agreed_range(config: sections.RunConfig) -> bool:
    """Return whether a range of values has to follow from the settings of a run that hides records."""
    chosen = config.secure_sum
    if isinstance(chosen, sections.PlainSum) or not isinstance(config.privacy, sections.RecordPrivacy):
        return False
    return chosen.value_range is None


def tells_weight_bound(config: sections.RunConfig) -> bool:
    """Return whether the run needs to know of how many rows, rounded up, participants train on."""
    privacy = config.privacy
    if isinstance(privacy, sections.NoPrivacy):
        return True
    if isinstance(privacy, sections.RecordPrivacy) and privacy.sizes == "public":
        return True
    return needs_agreed_range(config) and config.local.steps is None
