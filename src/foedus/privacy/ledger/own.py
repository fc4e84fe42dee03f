"""A participant's own ledger in a run between organisations: charged at home before it trains, whoever asks.

What it tells of its ledger to others is that a round is not allowed, and no figure: these follow from its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from foedus.core.durable import sync
from foedus.core.errors import BudgetError, LedgerError
from foedus.federation.messages import Train
from foedus.privacy.bills import Bill
from foedus.privacy.events import from_json
from foedus.privacy.ledger.composing import Charge, Tables
from foedus.privacy.ledger.guard import Payer

Tell = Callable[[str], None]
NOT_ALLOWED = "its own privacy budget does not allow"  # how every refusal begins that others are told


@dataclass
class OwnCharges:
    """Charges one participant's rounds of one run to its ledger.

    run: its id, the coordinator's. A run that bears another's id is charged all the same: each request that is
        worked for is one more charge.
    repeats: whether finished replies are kept, so that a redone round sends the same again, uncharged.
    mark: a file of this participant's; it is there once the run was charged. tell: is told at home what others are not.
    """

    run: str
    rounds: int
    payer: Payer
    mark: Path
    repeats: bool
    tell: Tell = lambda text: None
    tables: Tables = field(default_factory=Tables)

    def reserve(self, request: Train) -> None:
        """Write down what a round costs, before anything of it is computed; when it returns, the disk has it.

        Raises: BudgetError if the budget does not allow it; LedgerError if it cannot be written down, or the ledger
            has lost what the run has spent.
        """
        number = request.broadcast.clock.round + 1
        with quietly(f"round {number}", self.tell):
            if self.mark.exists() and not self.payer.ledger.has_spent(self.run):
                raise LedgerError(
                    f"this run was charged before, and {self.payer.ledger.path} knows nothing of it; put it back"
                )
            self.payer.ledger.reserve(self.run, number, [self._charge], self.tables)
            if not self.mark.exists():
                self.mark.touch(mode=0o600)
                sync(self.mark.parent)

    def settle(self, round_number: int) -> None:
        """Note that a round is over; what was charged for it stays charged.

        Raises: LedgerError if that cannot be written down.
        """
        with quietly(f"round {round_number}", self.tell):
            self.payer.ledger.settle_round(self.run, round_number)

    def require_room(self) -> None:
        """Return if the budget allows one more round of this run; this computes what its rounds are checked against.

        Raises: BudgetError if it does not.
        """
        with quietly("this run", self.tell):
            epsilon, limit, fitting = self.payer.ledger.forecast(self.run, self._charge, self.tables)
            if fitting == 0 and not self.payer.ledger.has_spent(self.run):
                raise BudgetError(
                    f"the budget {self.payer.budget_id} allows epsilon {limit:g}, of which not one round of this run "
                    "is left; see foedus privacy ledger"
                )
            shown = "no budget set" if limit is None else f"of {limit:g} allowed"
            self.tell(f"after all rounds of this run, epsilon would be {epsilon:.4g}, {shown}")

    def bill(self) -> Bill | None:
        """Return what the run was charged, redone rounds too; None if it was not."""
        with quietly("this run", self.tell):
            count = self.payer.ledger.standing(self.run, self._charge, self.tables).charges
        if not count:
            return None
        return Bill(((from_json(self._charge.event), count * self._charge.uses),), self.payer.plan.delta)

    @property
    def _charge(self) -> Charge:
        return Charge(self.payer.budget_id, self.payer.plan, self.rounds, repeats=self.repeats)


@contextmanager
def quietly(what: str, tell: Tell) -> Iterator[None]:
    """Tell at home what a ledger refuses, and others only that it does: its reasons hold figures of the rows."""
    try:
        yield
    except BudgetError as error:
        tell(str(error))
        raise BudgetError(f"{NOT_ALLOWED} {what}; its own log says why") from None
    except LedgerError as error:
        tell(str(error))
        raise LedgerError(f"its own privacy ledger cannot be used for {what}; its own log says why") from None
