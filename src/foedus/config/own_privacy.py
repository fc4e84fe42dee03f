"""A participant's privacy in a run between organisations: its plan from its own rows, paid for from its own ledger."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.privacy import is_reproducible, record_plans
from foedus.config.private_halves import agreed_noise
from foedus.config.sections import ParticipantFile
from foedus.config.side import Side
from foedus.core.errors import ConfigError, LedgerError, RunFolderError
from foedus.data.sites import Site
from foedus.privacy import accounting
from foedus.privacy.bills import Bill, bill_file, show_bills
from foedus.privacy.ledger.contents import table_rows
from foedus.privacy.ledger.guard import Payer
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.own import OwnCharges, Tell, quietly
from foedus.privacy.ledger.places import ledger_folder, participant_ledger
from foedus.privacy.outbox import Outbox
from foedus.privacy.own_files import write_own
from foedus.privacy.plan import DistributedPlan, RecordPlan

NOTE = "participant.yaml"
OUTBOX, CHARGED, COST = "outbox", "charged", "cost.json"  # in the participant's folder of the run
RECEIPTS = "receipts"  # in its folder of all runs: what it keeps though a run be forgotten
BILL, EPSILON, RECORDS = "bill", "epsilon", "records"  # in what it tells


@dataclass(frozen=True)
class OwnPrivacy:
    """How a participant is protected in a run.

    folder: of the run. bills: of all runs' bills. short: what its files of the run are called there.
    plan: how it hides its records; None where it adds noise to whole uploads, or has no records.
    charges: from its ledger; None where nothing is private. outbox: of its finished replies.
    """

    config: sections.RunConfig
    name: str
    folder: Path
    bills: Path
    short: str
    plan: RecordPlan | None = None
    charges: OwnCharges | None = None
    outbox: Outbox | None = None

    def settle(self, round_number: int) -> None:
        """Note that a round is over, and forget replies of earlier ones."""
        if self.charges is not None:
            self.charges.settle(round_number)
        if self.outbox is not None:
            self.outbox.forget(before=round_number)

    def facts(self) -> Mapping[str, Any]:
        """Return what the coordinator needs to know of the rows to say what the run costs."""
        privacy = self.config.privacy
        public = isinstance(privacy, sections.RecordPrivacy) and privacy.sizes == "public"
        return {RECORDS: self.plan.records if self.plan is not None else 0} if public else {}

    def tell(self) -> Mapping[str, Any]:
        """Return what the run cost as far as others may know: the same whenever it is asked, and nothing is added.

        It is on disk before it is returned, and nothing is trained for the run from then on: so finished replies, which
        only a redone round would need, are forgotten. Where sizes are secret the bill is sealed, and epsilon is no less
        than the run's own.
        Raises: LedgerError if the ledger cannot be read; RunFolderError if what was told cannot be.
        """
        privacy = self.config.privacy
        if isinstance(privacy, sections.NoPrivacy) or is_reproducible(privacy):
            return {}
        told = self.told()
        if told is None:
            told = self._told_of(self.bill())
            try:
                write_own(self.folder / COST, json.dumps(told).encode())
            except OSError as error:
                raise RunFolderError(f"what it tells of its cost cannot be written: {error.strerror}") from error
        if self.outbox is not None:
            self.outbox.clear()
        return told

    def finish(self) -> None:
        """Train no more for the run, and forget finished replies, be it told what it cost or not."""
        self.tell()

    def told(self) -> Mapping[str, Any] | None:
        """Return what `tell` returned; None before.

        Raises: RunFolderError if it cannot be read.
        """
        try:
            told = json.loads((self.folder / COST).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunFolderError(f"what it told of its cost cannot be read ({type(error).__name__})") from error
        return told if isinstance(told, dict) else {}

    def bill(self) -> Bill | None:
        """Return what the own ledger was charged for the run; None if it was not.

        Raises: LedgerError if it cannot be read, or has lost what the run has spent.
        """
        if self.charges is None:
            return None
        found = self.charges.bill()
        if found is None and self.charges.mark.exists():
            raise LedgerError("its own privacy ledger has lost what this run was charged; put it back")
        return found

    @property
    def bill_file(self) -> Path:
        """Where what opens a sealed bill is kept."""
        return bill_file(self.bills, self.name, self.short)

    def _told_of(self, bill: Bill | None) -> Mapping[str, Any]:
        if bill is None:
            return {EPSILON: 0.0}
        privacy = self.config.privacy
        secret = isinstance(privacy, sections.RecordPrivacy) and privacy.sizes == "private"
        [shown] = show_bills({self.name: bill}, [self.name] if secret else [], self.bills, self.short)
        epsilon = math.ceil(accounting.epsilon(bill.charges, bill.delta) * 100) / 100
        if secret and not isinstance(privacy, sections.NoPrivacy) and privacy.epsilon is not None:
            epsilon = max(epsilon, privacy.epsilon)
        return {BILL: shown, EPSILON: epsilon}


def begin_own_privacy(
    side: Side,
    name: str,
    file: ParticipantFile,
    site: Site,
    *,
    records: int,
    run: str,
    folder: Path,
    kept: Path,
    tell: Tell,
) -> OwnPrivacy:
    """Open the own ledger, register the rows that the run uses, and return what protects them; nothing is spent yet.

    records: how many it trains on. run: its id. folder: the participant's own, of this run. kept: its own, of all runs.
    Raises: BudgetError if the rows are another budget's, have changed unannounced, or no round is left; LedgerError if
        the ledger cannot be used; ConfigError if the rows do not suit the run. None of them tells a figure.
    """
    config = side.config
    privacy = config.privacy
    own = OwnPrivacy(config, name, folder, kept / RECEIPTS, short_name(config, run))
    if isinstance(privacy, sections.NoPrivacy):
        return own
    plan = _own_plan(side, privacy, name, records, tell)
    hides_records = plan if isinstance(plan, RecordPlan) else None
    if plan is None or is_reproducible(privacy):
        if plan is not None:
            _refuse_budgeted(file, name, site, tell)
        return replace(own, plan=hides_records)
    assert file.budget is not None, "consent() refuses a run that spends without one"
    with quietly("this run", tell):
        payer = _payer(file, file.budget, name, site, plan)
    outbox = Outbox(folder / OUTBOX) if hides_records is not None else None
    charges = OwnCharges(run, config.rounds.count, payer, folder / CHARGED, outbox is not None, tell)
    charges.require_room()
    return replace(own, plan=hides_records, charges=charges, outbox=outbox)


def short_name(config: sections.RunConfig, run: str) -> str:
    """Return what a participant's files of a run are called. run: its id."""
    return f"{config.name}-{run[:8]}"


def _own_plan(
    side: Side,
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy,
    name: str,
    records: int,
    tell: Tell,
) -> RecordPlan | DistributedPlan | None:
    if isinstance(privacy, sections.ParticipantPrivacy):
        plan = agreed_noise(side)
        assert plan is not None, "other mechanisms were refused"
        return plan.by_participation()
    try:
        return record_plans(side.config, privacy, {name: records}).get(name)
    except ConfigError as error:  # which tells how many records there are
        tell(str(error))
        raise ConfigError(
            "its rows do not suit local.batch_size, privacy.delta or privacy.epsilon; its own log says why"
        ) from None


def _payer(
    file: ParticipantFile, budget: sections.Budget, name: str, site: Site, plan: RecordPlan | DistributedPlan
) -> Payer:
    """Return who pays: the ledger with the file's budget in it. One that is there and allows less stays."""
    ledger = Ledger(participant_ledger(_folder(file), name))
    paying = ledger.register(budget.name or name, table_rows(site.splits.values()), named=budget.name is not None)
    [account] = [account for account in ledger.accounts() if account.budget_id == paying]
    limit = next((limit for limit in account.limits if limit.unit == budget.unit), None)
    differs = limit is None or (limit.epsilon, limit.delta) != (budget.epsilon, budget.delta)
    if limit is None or (differs and (limit.note == NOTE or limit.epsilon > budget.epsilon)):
        ledger.set_limit(paying, budget.unit, budget.epsilon, budget.delta, NOTE)
    return Payer(ledger, paying, plan)


def _refuse_budgeted(file: ParticipantFile, name: str, site: Site, tell: Tell) -> None:
    """Check that no budget stands for rows whose noise will be reproducible."""
    place = participant_ledger(_folder(file), name)
    if place.exists():
        with quietly("this run, whose noise is reproducible", tell):
            Ledger(place).refuse_unprotected(name, table_rows(site.splits.values()))


def _folder(file: ParticipantFile) -> Path:
    return ledger_folder() if file.ledgers is None else file.locate(file.ledgers)
