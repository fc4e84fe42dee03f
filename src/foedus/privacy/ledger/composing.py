"""What spends add up to: ε of everything that is charged to one budget, from tables made before they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from foedus.privacy import events
from foedus.privacy.events import Event
from foedus.privacy.plan import Plan, StreamPlan

# Events as JSON and how often each is charged, sorted: equal spends are equal values.
Spent = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Charge:
    """What one round takes from a budget.

    rounds: how many the run has; so far its table of ε reaches.
    repeats: whether a redone round gives the coordinator the same updates again. With correlated noise, which is
        drawn again from its key, it then releases the same sum, and that is no second release.
    """

    budget_id: str
    plan: Plan
    rounds: int
    repeats: bool = False

    @property
    def at_once(self) -> bool:
        """Whether the first round is charged for all: correlated noise is one mechanism, whatever is seen of it."""
        return isinstance(self.plan, StreamPlan)

    @cached_property
    def event(self) -> str:
        """The accountant's event, as JSON."""
        return events.to_json(self.plan.event(self._covered))

    @property
    def uses(self) -> int:
        """How often the event is charged each time that there is a charge, such as once for every step of a round."""
        return self.plan.uses(self._covered)

    @property
    def _covered(self) -> int:
        """The rounds that one charge is for."""
        return self.plan.rounds if isinstance(self.plan, StreamPlan) else 1

    @property
    def planned(self) -> int:
        """How many charges a run has that is not disturbed."""
        return 1 if self.at_once else self.rounds


@dataclass
class Tables:
    """ε after 0, 1, 2, … charges on top of other spends; each table is computed once.

    A table is looked up by these other spends themselves. When another process adds one, there is no table
    for what is then spent, and nothing is allowed before it is made.
    """

    _known: dict[tuple[str, int, float, Spent], Sequence[float]] = field(default_factory=dict)

    def find(self, charge: Charge, delta: float, others: Spent, charges: int) -> Sequence[float] | None:
        """Return the table if it is there and reaches so many charges."""
        table = self._known.get((charge.event, charge.uses, delta, others))
        return table if table is not None and len(table) > charges else None

    def make(self, charge: Charge, delta: float, others: Spent, charges: int) -> Sequence[float]:
        """Return the table, computed if need be; that may take seconds."""
        found = self.find(charge, delta, others, charges)
        if found is not None:
            return found
        # a redone round is one more than planned: then some more, not to compute anew for each
        reach = charge.planned if charges <= charge.planned else charges + 1 + charge.planned // 4
        table = _table(charge, delta, others, reach)
        self._known[charge.event, charge.uses, delta, others] = table
        return table


def _table(charge: Charge, delta: float, others: Spent, charges: int) -> Sequence[float]:
    from foedus.privacy.accounting import epsilon, epsilon_by_round

    spent = events_of(others)
    if charge.at_once:
        event = events.from_json(charge.event)
        return [epsilon([*spent, (event, count)], delta) for count in range(charges + 1)]
    return epsilon_by_round(replace(charge.plan, delta=delta), charges, spent)


def events_of(spent: Spent) -> list[tuple[Event, int]]:
    """Return the events that a ledger keeps as JSON."""
    return [(events.from_json(text), count) for text, count in spent]


def epsilon_of(spent: Spent, delta: float) -> float:
    """Return what spends add up to at this δ; 0 for none."""
    from foedus.privacy.accounting import epsilon

    return epsilon(events_of(spent), delta) if spent else 0.0
