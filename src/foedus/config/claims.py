"""Whether a run may claim the epsilon that it claims: computed anew from what its payers were charged.

The charges are signed with the summary. They must fit the configuration and the signed log: the noise that was asked
for, and no fewer charges than the log shows rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.distributed import UPLOADED
from foedus.config.privacy import build_plans, is_reproducible, private_steps
from foedus.config.secure_problems import hides_cohorts
from foedus.core.errors import ConfigError, SignatureError
from foedus.privacy import accounting
from foedus.privacy.bills import Bill, read_bills
from foedus.privacy.composition import library
from foedus.privacy.events import Gaussian, PoissonGaussian
from foedus.privacy.ledger.places import FEDERATION
from foedus.privacy.plan import StreamPlan
from foedus.privacy.signing.round_entries import ReadLog

PRECISION = 1e-3  # of the accountant's grid; a claim may be lower than what is computed anew by this share
BILLS = "bills"  # where a summary's privacy holds them


def check_claim(
    config: sections.RunConfig, summary: Mapping[str, Any], log: ReadLog, files: Sequence[Path] = ()
) -> Sequence[str]:
    """Return what is found when epsilon is computed anew, in sentences.

    files: bills that participants keep. A run may claim more than its bills come to; it may not claim less.
    Raises: SignatureError if it does, or bills do not fit; MissingExtra without the accountant.
    """
    claimed, privacy = summary["privacy"], config.privacy
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
        check(config, summary, log, bills, sealed)
        epsilon = float(claimed["epsilon"])
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        raise SignatureError(
            f"epsilon cannot be computed anew from what the folder says ({type(error).__name__})"
        ) from error
    several = isinstance(privacy, sections.RecordPrivacy) and privacy.person_at == "several_participants"
    sites = {payer: (bill.charges, bill.delta) for payer, bill in bills.items()}
    spent = accounting.federation_guarantee(sites, "several" if several else "one").epsilon
    if epsilon < spent * (1 - PRECISION):
        raise SignatureError(f"summary.json claims epsilon {epsilon:.6g}, but what was charged comes to {spent:.6g}")
    found = []
    if bills:
        found.append(
            f"epsilon computed anew from {len(bills)} bills, {spent:.4g}, is not above the {epsilon:.4g} that is "
            f"claimed (to {PRECISION:g} of it)"
        )
    if sealed:
        found.append(
            f"NOT CHECKED: what {len(sealed)} participants were charged, since the number of their records is secret; "
            "each can show its own (--bill)"
        )
    return found


def _of_records(
    config: sections.RunConfig,
    summary: Mapping[str, Any],
    log: ReadLog,
    bills: Mapping[str, Bill],
    sealed: Sequence[str],
) -> None:
    """Check that whoever counted was charged for its rounds, with the noise that was asked for."""
    privacy, batch = config.privacy, config.local.batch_size * config.local.accumulation
    assert isinstance(privacy, sections.RecordPrivacy), "the caller knows"
    if sealed and privacy.sizes == "public":
        raise SignatureError("bills are sealed, though the number of records is public")
    asked = {name: sum(name in result.cohort for result in log.results) for name in log.begun.roster}
    counted = {name for result in log.results for name in result.counted}
    if unpaid := sorted(counted - bills.keys() - set(sealed)):
        raise SignatureError(f"{', '.join(unpaid)} counted in the model, and no bill says what that cost")
    sizes = summary.get("sites")
    for payer, bill in bills.items():
        (event, count), *more = bill.charges
        if more or not isinstance(event, Gaussian | PoissonGaussian):
            raise SignatureError(f"{payer} was charged for something else than private steps")
        records = batch / (event.sampling_rate if isinstance(event, PoissonGaussian) else 1.0)
        if abs(records - round(records)) > 1e-6 * records:
            raise SignatureError(f"the sampling rate in the bill of {payer} is of no whole number of records")
        if isinstance(sizes, Mapping) and privacy.record == "row" and sizes[payer]["train"] != round(records):
            raise SignatureError(f"the bill of {payer} is of another number of records than summary.json tells")
        _require_noise(payer, event.noise_multiplier, privacy.noise_multiplier)
        _require_count(payer, count, asked.get(payer, 0) * private_steps(config.local, round(records)))


def _of_participants(
    config: sections.RunConfig,
    summary: Mapping[str, Any],
    log: ReadLog,
    bills: Mapping[str, Bill],
    sealed: Sequence[str],
) -> None:
    """Check that bills are of the mechanism that the configuration leads to."""
    if sealed:
        raise SignatureError("bills are sealed where nothing in them is secret")
    claimed, population = summary["privacy"], len(log.begun.roster)
    upload: Callable[[], int] = lambda: int(claimed["facts"][UPLOADED].replace(",", ""))  # noqa: E731
    plan = build_plans(config, {str(number): 1 for number in range(population)}, upload)
    assert plan is not None, "the configuration has privacy"
    assert not isinstance(plan, Mapping), "the privacy is of participants"
    if hides_cohorts(config.privacy):
        due = {f"the {FEDERATION}": 1 if isinstance(plan, StreamPlan) else len(log.results)}
        event = plan.event(plan.rounds) if isinstance(plan, StreamPlan) else plan.event()
    else:
        due = {name: sum(name in result.cohort for result in log.results) for name in log.begun.roster}
        event = plan.event()
    if unpaid := sorted(name for name in due.keys() - bills.keys() if due[name]):
        raise SignatureError(f"no bill says what the run cost {', '.join(unpaid)}")
    for payer, bill in bills.items():
        if [charged for charged, _ in bill.charges] != [event] or bill.delta != plan.delta:
            raise SignatureError(f"the bill of {payer} is of another mechanism than the configured one")
        _require_count(payer, bill.charges[0][1], due.get(payer, 0))


def _require_noise(payer: str, charged: float, configured: float | None) -> None:
    if configured is not None and charged != configured:
        raise SignatureError(f"the bill of {payer} is of noise {charged:g}, and configured is {configured:g}")


def _require_count(payer: str, charged: int, due: int) -> None:
    if charged < due:
        raise SignatureError(f"{payer} was charged {charged} times, and the log shows work for {due}")
