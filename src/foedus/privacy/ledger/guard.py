"""Who holds a run to its budgets: every round is written down in all ledgers concerned before it begins."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from foedus.core.durable import sync
from foedus.core.errors import FoedusError, LedgerError
from foedus.federation.messages import ParticipantId, Train
from foedus.privacy.bills import Bill
from foedus.privacy.events import from_json
from foedus.privacy.ledger.composing import Charge, Tables
from foedus.privacy.ledger.ledger import Ledger, Reserved, Standing
from foedus.privacy.ledger.places import FEDERATION
from foedus.privacy.outbox import Outbox
from foedus.privacy.plan import Plan
from foedus.privacy.signing.digests import request_digest

THREADS = 16


@dataclass(frozen=True)
class Payer:
    """A ledger, and what in it pays for a run's rounds; its data must be registered before the first one."""

    ledger: Ledger
    budget_id: str
    plan: Plan


@dataclass
class LedgerGuard:
    """Charges rounds to ledgers, and forbids a round that a budget does not allow.

    run: the run's own id, as `run_identity` gives it; two runs with one id would take each other's rounds for redone.
    rounds: how many it has.
    participants: who pays. At record level those in the cohort do. At participant level, which is where there
        is a `federation`, all of them do in every round, in the cohort or not: amplification by sampling is
        what everyone gains by it.
    federation: pays in every round, for all of its participants.
    outbox: where participants keep their finished replies. Who has one for a round that is redone sends it
        again and, at record level, is not charged again; nor is a stream with correlated noise.
    """

    run: str
    rounds: int
    participants: Mapping[ParticipantId, Payer]
    federation: Payer | None = None
    outbox: Outbox | None = None
    tables: Tables = field(default_factory=Tables)
    _open: list[tuple[str, Ledger, Reserved]] = field(default_factory=list, init=False)
    _latest: dict[str, Standing] = field(default_factory=dict, init=False)
    _ready: Sequence[ParticipantId] = field(default=(), init=False)
    _looked_back: bool = field(default=False, init=False)

    def reserve(self, round_number: int, requests: Mapping[ParticipantId, Train]) -> None:
        """Charge a round to everybody who pays for it, or to nobody.

        Raises: BudgetError if one budget does not allow it; LedgerError if a ledger cannot be written, or has
            lost what the run has spent.
        """
        if not self._looked_back:
            self._look_back(round_number)
            self._looked_back = True
        payers = self._payers(round_number, requests)
        self._open = []

        def pay(name: str, payer: Payer) -> None:
            [reserved] = payer.ledger.reserve(self.run, round_number, [self._charge(payer)], self.tables)
            self._open.append((name, payer.ledger, reserved))

        try:
            _all_at_once([partial(pay, name, payer) for name, payer in payers.items()])
        except BaseException:
            # nothing was sent; where even giving back fails, what is reserved stays counted, which is safe
            for _, ledger, reserved in self._open:
                with suppress(FoedusError):
                    ledger.give_back([reserved])
            self._open = []
            raise
        self._latest |= {name: reserved.standing for name, _, reserved in self._open}

    def settle(self, round_number: int, asked: Collection[ParticipantId], answered: Collection[ParticipantId]) -> None:
        """Note that the round is over, and forget the replies of earlier rounds, which no resumption redoes.

        A participant that was to pay for itself and was never asked gets its charge back.
        """

        def close(name: str, ledger: Ledger, reserved: Reserved) -> None:
            if self.federation is None and name not in asked:
                ledger.give_back([reserved])
            else:
                ledger.settle([reserved])

        paid = [self.participants[name].ledger for name in self._ready]  # before a crash, for the reply sent now
        _all_at_once(
            [partial(close, *each) for each in self._open]
            + [partial(ledger.settle_round, self.run, round_number) for ledger in paid]
        )
        self._open = []
        self._ready = [name for name in self._ready if name in answered]
        if self.outbox is not None:
            self.outbox.forget(before=round_number)

    def record(self, round_number: int) -> Mapping[str, Any]:
        """Return what the rounds so far have cost, over all who pay, in figures that are no single site's own.

        epsilon: of this run alone, the most over those who pay, at their largest delta.
        epsilon_in_ledger: of all runs on these data, the most over those who pay.
        budgets: how many of the payers have one. redone: charges beyond one a round. sent_again: replies that
            a redone round took from the outbox, uncharged.
        """
        standings = [standing for standing in self._latest.values() if standing.charges]
        if not standings:
            return {}
        return {
            "unit": standings[0].charge.plan.unit,
            "epsilon": max(self._alone(standing) for standing in standings),
            "delta": max(standing.charge.plan.delta for standing in standings),
            "epsilon_in_ledger": max(standing.epsilon for standing in standings),
            "payers": len(standings),
            "budgets": sum(standing.limit is not None for standing in standings),
            "redone": max(max(standing.charges - _due(standing, round_number), 0) for standing in standings),
            "sent_again": len(self._ready),
        }

    def bills(self) -> Mapping[str, Bill]:
        """Return what this run was charged, by who paid: redone rounds too."""
        found = {}
        for name, payer in self._everyone().items():
            charge = self._charge(payer)
            if count := payer.ledger.standing(self.run, charge, self.tables).charges:
                found[name] = Bill(((from_json(charge.event), count * charge.uses),), payer.plan.delta)
        return found

    def finish(self) -> None:
        """Forget all replies: no round of this run is redone any more."""
        if self.outbox is not None:
            self.outbox.clear()

    def forecast(self) -> Mapping[str, Forecast]:
        """Return, for everybody who pays, what the whole run would come to; computes the tables that rounds need."""
        found = {}
        for name, payer in self._everyone().items():
            charge = self._charge(payer)
            epsilon, limit, fitting = payer.ledger.forecast(self.run, charge, self.tables)
            self.tables.make(charge, payer.plan.delta, (), charge.planned)  # that records will ask for
            found[name] = Forecast(payer.budget_id, epsilon, limit, fitting)
        return found

    def _payers(self, round_number: int, requests: Mapping[ParticipantId, Train]) -> Mapping[str, Payer]:
        self._ready = ()
        if self.federation is not None:
            return self._everyone()
        if unknown := [name for name in requests if name not in self.participants]:
            raise LedgerError(f"{unknown[0]} has no ledger to be charged to; give each participant of the run one")
        ready: set[ParticipantId] = set()
        if self.outbox is not None and self.outbox.has_round(round_number):
            # most participants are sent the same one, of which the digest is computed once
            digests = {
                id(request): request_digest(request).hex() for request in {id(r): r for r in requests.values()}.values()
            }
            ready = {
                name
                for name, request in requests.items()
                if self.outbox.holds(name, round_number, digests[id(request)])
            }
        self._ready = sorted(ready)
        return {name: self.participants[name] for name in requests if name not in ready}

    def _everyone(self) -> Mapping[str, Payer]:
        return {**self.participants, **({} if self.federation is None else {f"the {FEDERATION}": self.federation})}

    def _look_back(self, round_number: int) -> None:
        """Read what this run has spent so far.

        Raises: LedgerError if rounds are over and the ledgers know of none: a file that was deleted begins empty.
        """
        everyone = self._everyone()
        ledgers = [payer.ledger for payer in everyone.values()]
        if round_number > 1 and ledgers and not any(ledger.has_spent(self.run) for ledger in ledgers):
            raise LedgerError(
                f"{round_number - 1} rounds of this run are over and {ledgers[0].path.parent} knows of none; put the "
                "ledgers back that it began with, or set FOEDUS_LEDGERS to their folder"
            )
        for name, payer in everyone.items():
            self._latest[name] = payer.ledger.standing(self.run, self._charge(payer), self.tables)

    def _charge(self, payer: Payer) -> Charge:
        return Charge(payer.budget_id, payer.plan, self.rounds, repeats=self.outbox is not None)

    def _alone(self, standing: Standing) -> float:
        """Return what this run costs by itself, at its own δ."""
        charge, count = standing.charge, standing.charges
        return self.tables.make(charge, charge.plan.delta, (), count)[count]


def _all_at_once(tasks: Sequence[Callable[[], None]]) -> None:
    """Do all tasks, each in a thread: what takes time is to wait for the disk. Raises the first error, after all."""
    if len(tasks) == 1:
        tasks[0]()
        return
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        futures = [pool.submit(task) for task in tasks]
    for future in futures:
        future.result()


def _due(standing: Standing, round_number: int) -> int:
    return 1 if standing.charge.at_once else round_number


@dataclass(frozen=True)
class Forecast:
    """What a whole run would come to. fitting: how many more rounds the budget allows; None without a budget."""

    budget_id: str
    epsilon: float
    limit: float | None
    fitting: int | None


def run_identity(path: Path) -> str:
    """Return the id that a run's spends stand under, made up the first time and kept in the file.

    It is random: a run that replaces another of the same name is another run.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.part")
        draft.write_text(secrets.token_hex(16))
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    return path.read_text()
