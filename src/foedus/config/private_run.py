"""What a private run needs beside its federation: randomness, ledgers, and a place for finished replies."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.guarantee import joint_delta, spent_by_round
from foedus.config.privacy import Plans, is_reproducible
from foedus.core.entropy import KEY_BYTES, Entropy
from foedus.core.errors import BudgetError
from foedus.core.seeds import SeedKey
from foedus.data.sites import Site
from foedus.federation.checkpoints import checkpoints
from foedus.federation.messages import ParticipantId, Train
from foedus.federation.run_folder import RunFolder
from foedus.privacy.bills import Bill, show_bills
from foedus.privacy.ledger.contents import table_rows
from foedus.privacy.ledger.guard import LedgerGuard, Payer, run_identity
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import federation_ledger, ledger_folder, participant_ledger
from foedus.privacy.outbox import Outbox
from foedus.privacy.plan import DistributedPlan, RecordPlan, StreamPlan
from foedus.privacy.streams import create_noise_key, delete_noise_key, read_noise_key


@dataclass(frozen=True)
class PrivateRun:
    """What is made once for a run that hides records or participants.

    entropy: what cohorts, and the coordinator's noise, are drawn from.
    outbox: where participants keep finished replies; None where they release nothing of their own.
    """

    guard: RunGuard
    entropy: Entropy
    outbox: Outbox | None = None


@dataclass
class RunGuard:
    """The ledgers' guard, if there is one, and what a round's record says.

    table: what so many rounds cost. composed: whether it may be more than any single payer's ledger knows of: the
        records of one person that lie at several participants, or a participant that is drawn more often than others.
    noise_key: a stream's, deleted when the run is over.
    """

    unit: str
    delta: float
    table: Sequence[float]
    ledgers: LedgerGuard | None
    composed: bool = False
    folder: RunFolder | None = None

    def reserve(self, round_number: int, requests: Mapping[ParticipantId, Train]) -> None:
        """Charge the round, unless nothing is private."""
        if self.ledgers is not None:
            self.ledgers.reserve(round_number, requests)

    def settle(self, round_number: int, asked: Collection[ParticipantId], answered: Collection[ParticipantId]) -> None:
        """Note that the round is over."""
        if self.ledgers is not None:
            self.ledgers.settle(round_number, asked, answered)

    def record(self, round_number: int) -> Mapping[str, Any]:
        """Return what the rounds so far have cost; of reproducible noise, what they would have."""
        if self.ledgers is None:
            return {"unit": self.unit, "epsilon": self.table[round_number], "delta": self.delta, "private": False}
        record = self.ledgers.record(round_number)
        if self.composed and record:
            record = {**record, "epsilon": max(record["epsilon"], self.table[round_number]), "delta": self.delta}
        return record

    def bills(self) -> Mapping[str, Bill]:
        """Return what the run was charged, by who paid; nothing where nothing is private."""
        return self.ledgers.bills() if self.ledgers is not None else {}

    def finish(self) -> None:
        """Forget what only a redone round would need."""
        if self.ledgers is not None:
            self.ledgers.finish()
        if self.folder is not None:
            delete_noise_key(noise_key_of(self.folder))


def begin_private_run(
    config: sections.RunConfig, plans: Plans, sites: Sequence[Site], folder: RunFolder, key: SeedKey
) -> PrivateRun:
    """Open the ledgers, register the rows that the run uses, and return what it needs; nothing is spent yet.

    At record level each participant's ledger pays, and so it does where participants add the noise themselves. Where
    the coordinator hides participants, the federation's ledger pays, for all of them alike.
    Raises: BudgetError if rows belong to another budget, have changed unannounced, or, with reproducible noise, are
        under a budget; LedgerError if a ledger cannot be used.
    """
    privacy = config.privacy
    assert not isinstance(privacy, sections.NoPrivacy), "there is nothing to begin"
    rounds = config.rounds.count
    some = next(iter(plans.values())) if isinstance(plans, Mapping) else plans
    if isinstance(plans, Mapping):
        assert isinstance(privacy, sections.RecordPrivacy), "the plans are of this section"
        delta = joint_delta(privacy, plans)
    else:
        delta = plans.delta
    several = isinstance(privacy, sections.RecordPrivacy) and privacy.person_at == "several_participants"
    table = spent_by_round(plans, rounds, composed=several)
    if is_reproducible(privacy):
        _refuse_budgeted(privacy, plans, sites)
        guard = RunGuard(some.unit, delta, table, None)
        return PrivateRun(guard, Entropy.reproducible_from(key.child("privacy")))
    identity = run_identity(folder.identity)
    if isinstance(plans, Mapping):
        outbox = Outbox(folder.outbox)
        payers = _participants_pay(privacy, plans, sites)
        ledgers = LedgerGuard(identity, rounds, payers, outbox=outbox)
        _refuse_spent(ledgers, folder)
        return PrivateRun(RunGuard(some.unit, delta, table, ledgers, composed=several), Entropy.secret(), outbox)
    if isinstance(plans, DistributedPlan):
        _refuse_federations_budget(privacy, sites)
        ledgers = LedgerGuard(identity, rounds, _each_pays(privacy, plans, sites))
        _refuse_spent(ledgers, folder)
        return PrivateRun(RunGuard(some.unit, delta, table, ledgers, composed=True), Entropy.secret())
    _refuse_participants_budgets(privacy, sites)
    federation = _federation_pays(privacy, plans, sites, config.name)
    if not isinstance(plans, StreamPlan):
        ledgers = LedgerGuard(identity, rounds, {}, federation=federation)
        _refuse_spent(ledgers, folder)
        return PrivateRun(RunGuard(some.unit, delta, table, ledgers), Entropy.secret())
    outbox = Outbox(folder.outbox)  # a redone round has the same noise, so the updates must be the same too
    ledgers = LedgerGuard(identity, rounds, {}, federation=federation, outbox=outbox)
    _refuse_spent(ledgers, folder)
    guard = RunGuard(some.unit, delta, table, ledgers, folder=folder)
    return PrivateRun(guard, _noise_key(folder, rounds), outbox)


def _refuse_spent(ledgers: LedgerGuard, folder: RunFolder) -> None:
    """Check that a run which has not begun can play a round; this computes what its rounds will be checked against.

    Raises: BudgetError if a budget allows none.
    """
    spent = [(name, one) for name, one in ledgers.forecast().items() if one.fitting == 0]
    if spent and not checkpoints(folder.checkpoints):
        name, one = spent[0]
        raise BudgetError(
            f"the budget {one.budget_id} of {name} allows epsilon {one.limit:g}, of which not one round of this run is "
            "left; see foedus privacy ledger, and use a smaller epsilon, other data, or a larger budget"
        )


def idle_entropy() -> Entropy:
    """Return randomness for a federation that is only looked at: nothing is ever drawn from it."""
    return Entropy.kept(os.urandom(KEY_BYTES))


def noise_key_of(folder: RunFolder) -> Path:
    """Return where a stream's noise key lies while its run is on: beside the checkpoints, never in them."""
    return folder.path / ".noise-key"


def _noise_key(folder: RunFolder, rounds: int) -> Entropy:
    """Return the run's noise: a new key's before anything was released, then always that key's.

    Raises: RunFolderError if rounds were played and their key is gone: noise of another would not be correlated with
        theirs, and cost what nobody has counted.
    """
    place, played = noise_key_of(folder), checkpoints(folder.checkpoints)
    if not played and not place.exists():
        return create_noise_key(place)
    if played and played[-1].name == f"round-{rounds:05d}":
        return idle_entropy()  # the run is over, and its key deleted
    return read_noise_key(place)


def _participants_pay(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, plans: Any, sites: Sequence[Site]
) -> Mapping[ParticipantId, Payer]:
    return {site.name: _pays(privacy, plans[site.name], site) for site in sites if site.name in plans}


def _each_pays(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, plan: DistributedPlan, sites: Sequence[Site]
) -> Mapping[ParticipantId, Payer]:
    """Return each participant's own ledger, which counts the rounds that it takes part in."""
    return {site.name: _pays(privacy, plan.by_participation(), site) for site in sites}


def _pays(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, plan: RecordPlan | DistributedPlan, site: Site
) -> Payer:
    ledger = Ledger(participant_ledger(ledger_folder(), site.name))
    rows = table_rows(site.splits.values())
    return Payer(ledger, ledger.register(privacy.budget or site.name, rows, named=privacy.budget is not None), plan)


def _federation_pays(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, plan: Any, sites: Sequence[Site], name: str
) -> Payer:
    ledger = Ledger(federation_ledger(ledger_folder()))
    budget = ledger.register(privacy.budget or name, _rows_of_all(sites), named=privacy.budget is not None)
    return Payer(ledger, budget, plan)


def _refuse_federations_budget(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, sites: Sequence[Site]
) -> None:
    """Check that no budget of the federation's ledger is for these data: where participants pay, it sees nothing.

    Raises: BudgetError.
    """
    place = federation_ledger(ledger_folder())
    name = Ledger(place).limit_over(privacy.budget or "", _rows_of_all(sites)) if place.exists() else None
    if name is not None:
        raise BudgetError(
            f"the data are under the federation's budget {name}, and with privacy.mechanism distributed each "
            "participant's own ledger pays, so that it would bound nothing; use noise of the coordinator, or other data"
        )


def _refuse_participants_budgets(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, sites: Sequence[Site]
) -> None:
    """Check that no participant's own ledger limits what is spent of it as a whole: the federation's pays.

    Raises: BudgetError.
    """
    for site in sites:
        place = participant_ledger(ledger_folder(), site.name)
        rows = table_rows(site.splits.values())
        name = Ledger(place).limit_over(privacy.budget or site.name, rows, "participant") if place.exists() else None
        if name is not None:
            raise BudgetError(
                f"{site.name} limits by its budget {name} what is spent of it as a participant, and here the "
                "federation's ledger pays, so that it would bound nothing; use privacy.mechanism distributed, or "
                "other data"
            )


def _refuse_budgeted(
    privacy: sections.RecordPrivacy | sections.ParticipantPrivacy, plans: Plans, sites: Sequence[Site]
) -> None:
    """Check that no budget stands for these data; a ledger that there is not yet has none.

    Raises: BudgetError.
    """
    folder = ledger_folder()
    by_participant = isinstance(plans, Mapping | DistributedPlan)
    for site in sites if by_participant else []:
        place = participant_ledger(folder, site.name)
        if place.exists():
            Ledger(place).refuse_unprotected(privacy.budget or site.name, table_rows(site.splits.values()))
    place = federation_ledger(folder)
    if not by_participant and place.exists():
        Ledger(place).refuse_unprotected(privacy.budget or "", _rows_of_all(sites))


def _rows_of_all(sites: Sequence[Site]) -> Iterator[bytes]:
    for site in sites:
        yield from table_rows(site.splits.values())


def shown_bills(config: sections.RunConfig, private: PrivateRun, place: Path, run: str) -> Sequence[Mapping[str, Any]]:
    """Return what everybody may see of what the run was charged; participants keep the rest.

    place: of what participants keep for themselves. run: what their files of it are called.
    """
    secret = isinstance(config.privacy, sections.RecordPrivacy) and config.privacy.sizes == "private"
    bills = private.guard.bills()
    return show_bills(bills, list(bills) if secret else [], place, run)
