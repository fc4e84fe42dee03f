"""A run's privacy guarantee in words and figures: what summary.json, the report and `foedus privacy plan` say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from typing import Any, assert_never

from foedus.config import sections
from foedus.config.distributed import facts_of, others_of
from foedus.config.privacy import Plans
from foedus.config.secure_sums import adds_noise
from foedus.federation.messages import ParticipantId
from foedus.privacy import accounting
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.plan import CohortPlan, DistributedPlan, RecordPlan, StreamPlan, charges

TRIED = (
    "Settings that were chosen by trying them on the same rows cost privacy too. Of these attempts, only runs that the "
    "ledger knows are counted."
)
AGAINST_ALL = "everyone but the participant that holds it, the coordinator included"

Private = sections.RecordPrivacy | sections.ParticipantPrivacy


def guarantee(config: sections.RunConfig, plans: Plans, epsilon: float, rounds: int) -> Mapping[str, Any]:
    """Return what a run of so many rounds promises, for summary.json.

    epsilon: what it spent, or would spend.
    """
    privacy = config.privacy
    assert not isinstance(privacy, sections.NoPrivacy), "there is nothing to promise"
    match plans:
        case DistributedPlan():
            found = hidden(privacy, plans, epsilon, plans.delta)
            facts, limits = facts_of(plans, rounds)
        case CohortPlan() | StreamPlan():
            found = hidden(privacy, plans, epsilon, plans.delta)
            facts, limits = _of_participants(plans, rounds)
        case _:
            assert isinstance(privacy, sections.RecordPrivacy), "the plans are of this section"
            found = hidden(privacy, None, epsilon, joint_delta(privacy, plans))
            facts, limits = _of_records(privacy, plans, rounds)
    return _told(privacy, found, facts, limits)


def guarantee_of_own_plans(config: sections.RunConfig, epsilon: float, delta: float) -> Mapping[str, Any]:
    """Return what a run promises whose participants keep their plans, and so their sizes, to themselves.

    epsilon, delta: that nobody's own exceed.
    """
    privacy = config.privacy
    assert isinstance(privacy, sections.RecordPrivacy), "others have no plans of their own"
    unit = "record" if privacy.record == "row" else "block"
    batch = config.local.batch_size * config.local.accumulation
    limits = [f"One {unit} is hidden, not a person: whoever has k of them is hidden with k times epsilon at best."]
    if privacy.delta == "auto":
        limits.append(
            f"Each participant's own delta is 1 / (10 n) of its own n {unit}s, which are at least a batch; the delta "
            "here is that of a batch, so that it tells nobody's n."
        )
    facts = {
        "mechanism": "DP-SGD: gradients clipped record by record, Poisson batches, Gaussian noise on their sum",
        "clip norm": f"{privacy.clip_norm:g}",
        "noise multiplier": "each participant's own, by its number of records",
        "expected batch": f"{batch:g} {unit}s",
        "steps of a participant": str(config.local.steps or "by its size"),
        "one person's records": "lie at one participant",
    }
    return _told(privacy, hidden(privacy, None, epsilon, delta), facts, limits)


@dataclass(frozen=True)
class Hidden:
    """One of what, by how much, from whom, and as far as which difference between data goes."""

    unit: str
    epsilon: float
    delta: float
    against: str
    neighbours: str

    def facts(self) -> Mapping[str, str]:
        """Return the figures as people see them."""
        return {
            "unit": self.unit,
            "epsilon": upwards(self.epsilon),
            "delta": f"{self.delta:g}",
            "neighbours": self.neighbours,
        }

    def promise(self, privacy: Private) -> Mapping[str, Any]:
        """Return what everybody may take a run at, in figures and in a sentence."""
        said, private = self.facts(), privacy.noise == "secret"
        promise = (
            f"each {self.unit} is hidden with epsilon {said['epsilon']} and delta {said['delta']} against "
            f"{self.against}, as far as {self.neighbours} goes"
        )
        reproducible = "Reproducible, therefore not private: the noise follows from the run's seed. Were it secret, "
        return {
            "kind": privacy.kind,
            "unit": self.unit,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "private": private,
            "statement": f"{promise[0].upper()}{promise[1:]}." if private else f"{reproducible}{promise}.",
        }


def hidden(
    privacy: Private, plan: CohortPlan | StreamPlan | DistributedPlan | None, epsilon: float, delta: float
) -> Hidden:
    """Return what is hidden by a plan for participants, or, without one, by those that participants have for records.

    epsilon, delta: that hold for all.
    """
    match plan:
        case None:
            assert isinstance(privacy, sections.RecordPrivacy), "participants are hidden by one plan"
            unit = "record" if privacy.record == "row" else "block"
            return Hidden(unit, epsilon, delta, AGAINST_ALL, f"adding or removing one {unit}")
        case DistributedPlan():
            against = f"everybody else, {others_of(plan)}"
            neighbours = f"replacing all that one {plan.unit} uploads by zeros"
        case _:
            against = "those who see the models, but not against the coordinator, which sees every upload"
            neighbours = f"adding or removing one {plan.unit}"
    return Hidden(str(plan.unit), epsilon, delta, against, neighbours)


def _told(privacy: Private, found: Hidden, facts: Mapping[str, str], limits: Sequence[str]) -> Mapping[str, Any]:
    accountant = "Rényi divergence" if adds_noise(privacy) else _by_distributions()
    return {
        **found.promise(privacy),
        "facts": {**found.facts(), "accountant": accountant, **facts},
        "limits": [*limits, *_measured(privacy), TRIED],
    }


def _by_distributions() -> str:
    return f"privacy-loss distributions, dp-accounting {version('dp-accounting')}"


def spent_by_round(plans: Plans, rounds: int, *, composed: bool = False) -> Sequence[float]:
    """Return epsilon after 0, 1, … rounds: the most that any participant spends, or what they spend together.

    composed: one person's records may lie at all participants, so that their mechanisms are composed.
    """
    if not isinstance(plans, Mapping):
        return accounting.epsilon_by_round(plans, rounds)
    if composed:
        return [
            accounting.federation_guarantee(
                {name: (charges(plan, done), plan.delta) for name, plan in plans.items()}, "several"
            ).epsilon
            for done in range(rounds + 1)
        ]
    distinct = {(plan.event(), plan.steps_per_round, plan.delta): plan for plan in plans.values()}
    tables = [accounting.epsilon_by_round(plan, rounds) for plan in distinct.values()]
    return [max(values) for values in zip(*tables, strict=True)]


def joint_delta(privacy: sections.RecordPrivacy, plans: Mapping[ParticipantId, RecordPlan]) -> float:
    """Return the delta of the federation's epsilon: the worst site's, or of what is composed the least of all."""
    deltas = [plan.delta for plan in plans.values()]
    return max(deltas) if privacy.person_at == "one_participant" else min(deltas)


def upwards(epsilon: float) -> str:
    """Return an epsilon with two digits after the point, rounded up, so that the text promises nothing untrue.

    >>> upwards(7.9912), upwards(0.12341)
    ('8.00', '0.13')
    """
    return f"{ceil(epsilon * 100 - 1e-9) / 100:,.2f}"


def _of_records(
    privacy: sections.RecordPrivacy, plans: Mapping[ParticipantId, RecordPlan], rounds: int
) -> tuple[Mapping[str, str], Sequence[str]]:
    some = next(iter(plans.values()))
    noise = sorted({round(plan.noise_multiplier, 3) for plan in plans.values()})
    steps = sorted({plan.uses(rounds) for plan in plans.values()})
    told = privacy.sizes == "public" or len(noise) == 1
    facts = {
        "mechanism": "DP-SGD: gradients clipped record by record, Poisson batches, Gaussian noise on their sum",
        "clip norm": f"{some.clip_norm:g}",
        "noise multiplier": span(noise) if told else f"at least {noise[0]:g}, by the participant's number of records",
        "expected batch": f"{some.expected_batch:g} {some.unit}s",
        "steps of a participant": span(steps) if privacy.sizes == "public" or len(steps) == 1 else "by its size",
        "one person's records": (
            "lie at one participant"
            if privacy.person_at == "one_participant"
            else "may lie at several participants, whose spending is composed"
        ),
    }
    limits = [
        f"One {some.unit} is hidden, not a person: whoever has k of them is hidden with k times epsilon at best.",
        "How many records a participant has is taken for known: sampling rate and noise follow from it.",
    ]
    if some.unit == "block":
        limits.append(
            "Blocks are hidden, not documents: a text that spans several blocks is not, and one text more or less "
            "moves where the blocks behind it begin."
        )
    return facts, limits


def _of_participants(plan: CohortPlan | StreamPlan, rounds: int) -> tuple[Mapping[str, str], Sequence[str]]:
    clip = plan.clip
    facts = {
        "participants": f"{plan.population:,}",
        "clip norm": f"{clip.norm:g}" if isinstance(clip, FixedClip) else f"adaptive, from {clip.initial_norm:g}",
        "noise multiplier": f"{plan.noise_multiplier:.3f}",
        "expected cohort": f"{plan.expected_cohort:g}",
    }
    limits = [
        "The coordinator sees each clipped upload before the noise is added; this is no protection against it.",
        "A participant that does not clip its upload is not hidden itself; the others are.",
    ]
    match plan:
        case CohortPlan():
            seen = accounting.epsilon_if_cohort_is_seen(plan, rounds)
            facts["mechanism"] = "DP-FedAvg: cohorts by secret coins, Gaussian noise on the sum of clipped uploads"
            facts["epsilon for who sees the cohorts"] = upwards(seen)
            limits.append(
                "Epsilon counts on nobody seeing who took part in a round. For those who do see it, such as the "
                f"coordinator, it is {upwards(seen)}."
            )
        case StreamPlan():
            facts["mechanism"] = "DP-FTRL: noise correlated over rounds; who takes part when is no secret"
            facts["rounds between two of a participant"] = f"at least {plan.min_separation}"
            facts["rounds of a participant"] = f"at most {plan.max_participations}"
        case _:
            assert_never(plan)
    return facts, limits


def _measured(privacy: sections.RecordPrivacy | sections.ParticipantPrivacy) -> Sequence[str]:
    if privacy.evaluation == "public":
        return ["Figures on held-out rows are exact, and epsilon does not cover these rows: they were declared public."]
    return []


def span(values: Sequence[float]) -> str:
    """Return a single value, or the least and the largest.

    >>> span([1.5]), span([1, 2, 4])
    ('1.5', '1 to 4')
    """
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
