"""What the coordinator of a run between organisations says of its privacy: from the settings, and what it was told.

It holds no rows and no ledger: each organisation plans, charges and checks at home.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from foedus.config import sections
from foedus.config.claims import BILLS, PLANNED, bound_of_delta
from foedus.config.guarantee import guarantee, guarantee_of_own_plans, joint_delta, spent_by_round
from foedus.config.own_privacy import BILL, EPSILON, RECORDS
from foedus.config.privacy import Plans, is_reproducible, record_plans
from foedus.core.errors import BudgetError, ConfigError, MessageError, SignatureError
from foedus.federation.collect import CollectedEvaluation
from foedus.federation.messages import ParticipantId, Train
from foedus.federation.protocols import ServerState
from foedus.federation.round import RoundReport
from foedus.privacy import accounting
from foedus.privacy.bills import Bill, read_bills
from foedus.privacy.composition import library
from foedus.privacy.ledger.own import NOT_ALLOWED
from foedus.privacy.plan import DistributedPlan

MOST_TIMES = 100  # that somebody may have paid for each round


@dataclass
class ToldGuard:
    """What a round's record says of privacy. Who pays forbids rounds, at home; the run ends when too few are left.

    plans: None where each participant keeps its own to itself; then a round's epsilon is the whole run's bound.
    spent: those who said that their budget allows no more.
    """

    config: sections.RunConfig
    unit: str
    delta: float
    table: Sequence[float]
    plans: Plans | None
    spent: set[ParticipantId] = field(default_factory=set)

    def reserve(self, round_number: int, requests: Mapping[ParticipantId, Train]) -> None:
        """Charge nothing: participants charge themselves.

        Raises: BudgetError if the budgets of so many are spent that no round can stand.
        """
        chosen = self.config.secure_sum
        cohort = 0 if isinstance(chosen, sections.PlainSum) else chosen.min_cohort
        spent = sorted(self.spent & requests.keys())
        if spent and len(requests) - len(spent) < max(1, self.config.rounds.min_reports, cohort):
            raise BudgetError(
                f"{', '.join(spent)} said that their own privacy budgets allow no more rounds of this run, and too few "
                "are left; use fewer rounds or more noise, or let whoever answers for their data set other budgets"
            )

    def note_evaluation(self, evaluation: CollectedEvaluation) -> None:
        """Do nothing: it says nothing of budgets."""

    def note(self, state: ServerState, report: RoundReport) -> None:
        """Note whose budget is spent."""
        self.spent |= {name for name, why in report.collected.left_out.items() if NOT_ALLOWED in why}

    def keep(self) -> None:
        """Do nothing: whose budget is spent is found out anew."""

    def settle(self, round_number: int, asked: Collection[ParticipantId], answered: Collection[ParticipantId]) -> None:
        """Do nothing: participants note it themselves."""

    def record(self, round_number: int) -> Mapping[str, Any]:
        """Return what the rounds so far cost at most, unless rounds were redone."""
        marked = {"private": False} if is_reproducible(self.config.privacy) else {PLANNED: True}
        return {"unit": self.unit, "epsilon": self.table[round_number], "delta": self.delta, **marked}

    def finish(self) -> None:
        """Do nothing: participants forget what they keep when they are told so."""


@dataclass(frozen=True)
class ToldSpending:
    """What participants told at the end. bills: as everybody may see them. epsilon: the most that is known of."""

    bills: Sequence[Mapping[str, Any]]
    epsilon: float
    silent: Sequence[ParticipantId]


def told_guard(
    config: sections.RunConfig, noise: DistributedPlan | None, records: Mapping[ParticipantId, int]
) -> ToldGuard | None:
    """Return what says in records what rounds cost; None without differential privacy.

    noise: that participants add to uploads. records: how many each has, where sizes are public.
    """
    privacy, rounds = config.privacy, config.rounds.count
    match privacy:
        case sections.NoPrivacy():
            return None
        case sections.ParticipantPrivacy():
            assert noise is not None, "other mechanisms were refused"
            return ToldGuard(config, noise.unit, noise.delta, spent_by_round(noise, rounds), noise)
    library()
    unit = "record" if privacy.record == "row" else "block"
    if privacy.sizes == "public":
        plans = record_plans(config, privacy, records)
        if not plans:
            raise MessageError("no participant has records to train on")
        table = spent_by_round(plans, rounds, composed=privacy.person_at == "several_participants")
        return ToldGuard(config, unit, joint_delta(privacy, plans), table, plans)
    assert privacy.epsilon is not None, "undeployable_privacy() refuses others"
    table = [0.0, *([privacy.epsilon] * rounds)]
    return ToldGuard(config, unit, bound_of_delta(config, privacy), table, None)


def read_records(told: Mapping[ParticipantId, Mapping[str, Any]]) -> Mapping[ParticipantId, int]:
    """Return how many records each participant says that it has; those that do not say are left out."""
    found = {name: facts.get(RECORDS) for name, facts in told.items()}
    return {name: count for name, count in found.items() if type(count) is int and 0 <= count < 1 << 53}


def read_spending(
    guard: ToldGuard, told: Mapping[ParticipantId, Mapping[str, Any]], due: Collection[ParticipantId], rounds: int
) -> ToldSpending:
    """Return what participants told of what they were charged, be it for a round that nothing is recorded of.

    due: who was asked to train. What cannot be read, or is a bill of something else, counts as not told; it lowers
    nothing.
    """
    shown: list[Mapping[str, Any]] = []
    opened: dict[str, Bill] = {}
    figures, free = [guard.table[rounds]], set[str]()
    for name in sorted({*due, *told}):
        facts = told.get(name, {})
        epsilon, bill = facts.get(EPSILON), facts.get(BILL)
        if bill is None and epsilon == 0:
            free.add(name)
            continue
        try:
            if not isinstance(bill, dict) or bill.get("payer") != name or not _is_epsilon(epsilon):
                continue
            bills, _ = read_bills([bill])
            if not all(_is_of_run(guard, name, each) for each in bills.values()):
                figures.append(float(epsilon))
                continue
            spent = [accounting.epsilon(each.charges, each.delta) for each in bills.values()]
        except (SignatureError, ConfigError):
            continue
        if not all(map(math.isfinite, spent)):
            continue
        shown.append(bill)
        opened |= bills
        figures += [float(epsilon), *spent]
    privacy = guard.config.privacy
    if isinstance(privacy, sections.RecordPrivacy) and privacy.person_at == "several_participants" and opened:
        sites = {name: (bill.charges, bill.delta) for name, bill in opened.items()}
        figures.append(accounting.federation_guarantee(sites, "several").epsilon)
    paid = {bill["payer"] for bill in shown}
    silent = [] if is_reproducible(privacy) else sorted(set(due) - paid - free)
    return ToldSpending(shown, max(figures), silent)


def told_guarantee(guard: ToldGuard, spending: ToldSpending, rounds: int) -> Mapping[str, Any]:
    """Return what the summary promises."""
    if guard.plans is not None:
        promise = guarantee(guard.config, guard.plans, spending.epsilon, rounds)
    else:
        promise = guarantee_of_own_plans(guard.config, spending.epsilon, guard.delta)
    limits = [
        *promise["limits"],
        "Each organisation plans its noise and keeps its ledger at home. The coordinator repeats what it was told; it "
        "cannot check that anybody added noise.",
    ]
    if spending.silent:
        limits.append(
            f"{', '.join(spending.silent)} did not tell at the end what it was charged. For it, epsilon counts on "
            "rounds that were played once."
        )
    return {**promise, "limits": limits, BILLS: list(spending.bills)}


def _is_of_run(guard: ToldGuard, name: ParticipantId, bill: Bill) -> bool:
    """Return whether an open bill is of this run's mechanism, as its payer was to use it.

    Others are not composed: that can take hours, or fail, and the run would never end.
    """
    plan = guard.plans.get(name) if isinstance(guard.plans, Mapping) else guard.plans
    if plan is None or bill.delta != plan.delta:
        return False
    once = plan.by_participation() if isinstance(plan, DistributedPlan) else plan
    most = MOST_TIMES * once.uses(guard.config.rounds.count)
    return all(event == plan.event() and count <= most for event, count in bill.charges)


def _is_epsilon(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
