"""Whether a run may claim the epsilon that it claims: computed anew from what its payers were charged.

The charges are signed with the summary. They must fit the configuration and the signed log: the noise that was asked
for, and no fewer charges than the log shows rounds. Between organisations each participant checks that before it
signs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.distributed import UPLOADED
from foedus.config.guarantee import hidden, upwards
from foedus.config.privacy import build_plans, is_reproducible, private_steps
from foedus.config.secure_problems import hides_cohorts
from foedus.core.errors import ConfigError, SignatureError
from foedus.privacy import accounting
from foedus.privacy.bills import Bill, read_bills
from foedus.privacy.composition import library
from foedus.privacy.events import Gaussian, PoissonGaussian
from foedus.privacy.ledger.places import FEDERATION
from foedus.privacy.plan import CohortPlan, DistributedPlan, StreamPlan, default_delta
from foedus.privacy.signing.round_entries import ReadLog

PRECISION = 1e-3  # of the accountant's grid; a claim may be lower than what is computed anew by this share
BILLS = "bills"  # where a summary's privacy holds them
PLANNED = "planned"  # in a round's record: it counts each round once, and claims nothing of what was paid


@dataclass(frozen=True)
class Work:
    """What a run's rounds were, as far as it is signed.

    participants: all. counted: in how many rounds each is in the model. rounds: how many were played.
    sizes: how many training rows each has, where that is told.
    """

    participants: Collection[str]
    counted: Mapping[str, int]
    rounds: int
    sizes: Mapping[str, Any] | None = None


def check_claim(
    config: sections.RunConfig, summary: Mapping[str, Any], log: ReadLog, files: Sequence[Path] = ()
) -> Sequence[str]:
    """Return what is found when epsilon is computed anew, in sentences.

    files: bills that participants keep. A run may claim more than its bills come to; it may not claim less.
    Raises: SignatureError if it does, or bills do not fit; MissingExtra without the accountant.
    """
    counted = Counter(name for result in log.results for name in result.counted)
    sites = summary.get("sites")
    sizes = {name: rows["train"] for name, rows in sites.items()} if isinstance(sites, Mapping) else None
    work = Work(tuple(log.begun.roster), counted, len(log.results), sizes)
    return check_promise(config, summary["privacy"], work, files)


def check_promise(config: sections.RunConfig, claimed: Any, work: Work, files: Sequence[Path] = ()) -> Sequence[str]:
    """Return what is found of a promise, which stands in a summary or is to be signed; otherwise as check_claim."""
    privacy = config.privacy
    if isinstance(privacy, sections.NoPrivacy) or not isinstance(claimed, Mapping):
        raise SignatureError("summary.json claims privacy, but the configuration has none")
    if is_reproducible(privacy):
        if claimed.get("private") is not False:
            raise SignatureError("summary.json claims privacy, but the noise was reproducible")
        return ["no privacy is claimed: the noise was reproducible"]
    library()
    bills, sealed = read_bills(claimed.get(BILLS), files)
    try:
        check = _of_records if isinstance(privacy, sections.RecordPrivacy) else _of_participants
        plan = check(config, claimed, work, bills, sealed)
        epsilon, delta = float(claimed["epsilon"]), float(claimed["delta"])
        spent = _spent(privacy, bills, delta)
        if epsilon < spent * (1 - PRECISION):
            raise SignatureError(
                f"summary.json claims epsilon {epsilon:.6g} at delta {delta:g}, but what was charged comes to "
                f"{spent:.6g}"
            )
        _require_words(privacy, claimed, plan, epsilon, delta)
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError, AttributeError, ConfigError) as error:
        raise SignatureError(
            f"epsilon cannot be computed anew from what the folder says ({type(error).__name__})"
        ) from error
    found = []
    if bills:
        found.append(
            f"epsilon computed anew from {len(bills)} bills, {spent:.4g}, is not above the {epsilon:.4g} that is "
            f"claimed (to {PRECISION:g} of it)"
        )
    if sealed:
        found += _of_sealed(config, sealed, epsilon, delta)
    return found


def _spent(privacy: sections.Privacy, bills: Mapping[str, Bill], delta: float) -> float:
    """Return the epsilon of all bills at the claimed delta, or at a bill's own where that is smaller."""
    several = isinstance(privacy, sections.RecordPrivacy) and privacy.person_at == "several_participants"
    sites = {payer: (bill.charges, min(bill.delta, delta)) for payer, bill in bills.items()}
    return accounting.federation_guarantee(sites, "several" if several else "one").epsilon


def _of_sealed(config: sections.RunConfig, sealed: Sequence[str], epsilon: float, delta: float) -> Sequence[str]:
    """Return what can be said of a claim over bills that their owners keep to themselves."""
    privacy, found = config.privacy, []
    assert isinstance(privacy, sections.RecordPrivacy), "others are not sealed"
    if privacy.epsilon is not None and epsilon >= privacy.epsilon and delta >= bound_of_delta(config, privacy):
        found.append(
            f"epsilon {upwards(epsilon)} and delta {delta:g} are no less than what the configuration plans for any "
            "number of records"
        )
    found.append(
        f"NOT CHECKED: what {len(sealed)} participants were charged, since the number of their records is secret; "
        "each can show its own (--bill)"
    )
    return found


def bound_of_delta(config: sections.RunConfig, privacy: sections.RecordPrivacy) -> float:
    """Return the delta that no participant's own exceeds: nobody has fewer records than are in a batch."""
    batch = config.local.batch_size * config.local.accumulation
    return default_delta(batch) if privacy.delta == "auto" else privacy.delta


def _of_records(
    config: sections.RunConfig,
    claimed: Mapping[str, Any],
    work: Work,
    bills: Mapping[str, Bill],
    sealed: Sequence[str],
) -> None:
    """Check that whoever counted was charged for its rounds, with the noise that was asked for."""
    privacy, batch = config.privacy, config.local.batch_size * config.local.accumulation
    assert isinstance(privacy, sections.RecordPrivacy), "the caller knows"
    if sealed and privacy.sizes == "public":
        raise SignatureError("bills are sealed, though the number of records is public")
    if unpaid := sorted(work.counted.keys() - bills.keys() - set(sealed)):
        raise SignatureError(f"{', '.join(unpaid)} counted in the model, and no bill says what that cost")
    for payer, bill in bills.items():
        (event, count), *more = bill.charges
        if more or not isinstance(event, Gaussian | PoissonGaussian):
            raise SignatureError(f"{payer} was charged for something else than private steps")
        records = batch / (event.sampling_rate if isinstance(event, PoissonGaussian) else 1.0)
        if abs(records - round(records)) > 1e-6 * records:
            raise SignatureError(f"the sampling rate in the bill of {payer} is of no whole number of records")
        if work.sizes is not None and privacy.record == "row" and work.sizes[payer] != round(records):
            raise SignatureError(f"the bill of {payer} is of another number of records than summary.json tells")
        if bill.delta != (default_delta(round(records)) if privacy.delta == "auto" else privacy.delta):
            raise SignatureError(f"the bill of {payer} is of another delta than the configuration leads to")
        _require_noise(payer, event.noise_multiplier, privacy.noise_multiplier)
        _require_count(payer, count, work.counted.get(payer, 0) * private_steps(config.local, round(records)))


def _of_participants(
    config: sections.RunConfig,
    claimed: Mapping[str, Any],
    work: Work,
    bills: Mapping[str, Bill],
    sealed: Sequence[str],
) -> CohortPlan | StreamPlan | DistributedPlan:
    """Return the plan that the configuration leads to, if bills are of its mechanism."""
    if sealed:
        raise SignatureError("bills are sealed where nothing in them is secret")
    population = len(work.participants)
    upload: Callable[[], int] = lambda: int(claimed["facts"][UPLOADED].replace(",", ""))  # noqa: E731
    plan = build_plans(config, {str(number): 1 for number in range(population)}, upload)
    assert plan is not None, "the configuration has privacy"
    assert not isinstance(plan, Mapping), "the privacy is of participants"
    if hides_cohorts(config.privacy):
        due: Mapping[str, int] = {f"the {FEDERATION}": 1 if isinstance(plan, StreamPlan) else work.rounds}
        event = plan.event(plan.rounds) if isinstance(plan, StreamPlan) else plan.event()
    else:
        due, event = work.counted, plan.event()
    if unpaid := sorted(name for name in due.keys() - bills.keys() if due[name]):
        raise SignatureError(f"no bill says what the run cost {', '.join(unpaid)}")
    for payer, bill in bills.items():
        if [charged for charged, _ in bill.charges] != [event] or bill.delta != plan.delta:
            raise SignatureError(f"the bill of {payer} is of another mechanism than the configured one")
        _require_count(payer, bill.charges[0][1], due.get(payer, 0))
    return plan


def _require_words(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy,
    claimed: Mapping[str, Any],
    plan: CohortPlan | StreamPlan | DistributedPlan | None,
    epsilon: float,
    delta: float,
) -> None:
    """Check that the sentence and the table that people read say what the figures do."""
    due = hidden(privacy, plan, epsilon, delta)
    said, facts = due.promise(privacy), due.facts()
    other = [name for name in said if claimed[name] != said[name]]
    other += [f"facts.{name}" for name in facts if claimed["facts"][name] != facts[name]]
    if other:
        raise SignatureError(f"summary.json says of privacy, in {', '.join(other)}, something else than its figures do")


def _require_noise(payer: str, charged: float, configured: float | None) -> None:
    if configured is not None and charged != configured:
        raise SignatureError(f"the bill of {payer} is of noise {charged:g}, and configured is {configured:g}")


def _require_count(payer: str, charged: int, due: int) -> None:
    if charged < due:
        raise SignatureError(f"{payer} was charged {charged} times, and the log shows work for {due}")
