"""What was spent of whose privacy, and what may be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foedus.core.errors import ConfigError, LedgerError
from foedus.privacy.ledger.composing import epsilon_of
from foedus.privacy.ledger.ledger import Account, Ledger, Limit
from foedus.privacy.ledger.places import (
    federation_ledger,
    ledger_folder,
    ledgers_in,
    owner_of,
    participant_ledger,
)
from foedus.privacy.plan import PLURAL, default_delta


def privacy_ledger(participant: str | None = None, *, folder: Path | None = None) -> Sequence[Mapping[str, Any]]:
    """Return what each ledger of this user holds: one mapping for each budget and unit, of JSON values.

    participant: of this one alone; "the federation" is one, too. folder: of the ledgers.
    epsilon: of all that counts, at `delta`, which is the budget's or, where none was set, the runs' least.
    remaining: what the budget leaves, None where none was set. unsettled: charges of rounds that are going on,
    or were cut short; they count.
    Raises: LedgerError if a ledger cannot be read, or there is none for this participant.
    """
    place = folder or ledger_folder()
    paths = [path for path in ledgers_in(place) if participant in {None, owner_of(path)}]
    if participant is not None and not paths:
        known = ", ".join(owner_of(path) for path in ledgers_in(place)) or "none"
        raise LedgerError(f"{place} has no ledger of {participant}; there are: {known}")
    found: list[Mapping[str, Any]] = []
    for path in paths:
        with _opened(path) as ledger:
            for account in ledger.accounts():
                units = {limit.unit for limit in account.limits} | {each.unit for each in account.spendings}
                found += [_standing(ledger, account, unit) for unit in sorted(units) or ["record"]]
    return found


def set_privacy_budget(
    budget_id: str,
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    unit: str = "record",
    participant: str | None = None,
    federation: bool = False,
    note: str = "",
    accept_changed_data: bool = False,
    folder: Path | None = None,
) -> Sequence[Mapping[str, Any]]:
    """Set what may be spent of a budget in all, or accept that its data have changed; return its standing.

    delta: one over ten times the number of its units, if that is known, unless given.
    participant, federation: whose ledger; not needed for a budget that one ledger alone has.
    Raises: ConfigError for figures that no budget can have, BudgetError for a δ of 1/n or more, LedgerError.
    """
    _check(epsilon, delta, unit, accept_changed_data)
    path = _place(budget_id, participant, federation, folder or ledger_folder())
    with _opened(path) as ledger:
        known = {account.budget_id: account for account in ledger.accounts()}.get(budget_id)
        if accept_changed_data:
            ledger.announce_change(budget_id)
        if epsilon is not None:
            ledger.set_limit(budget_id, unit, epsilon, delta or _delta(known, budget_id, unit), note)
    return [row for row in privacy_ledger(owner_of(path), folder=path.parent) if row["budget_id"] == budget_id]


def _check(epsilon: float | None, delta: float | None, unit: str, accept_changed_data: bool) -> None:
    if epsilon is None and not accept_changed_data:
        raise ConfigError("setting a privacy budget: give --epsilon, or --accept-changed-data, or both")
    if epsilon is not None and not (epsilon > 0 and math.isfinite(epsilon)):
        raise ConfigError(
            f"setting a privacy budget: epsilon is {epsilon}; it is a finite number above 0, "
            "from about 1 (strong) to 8 (weak)"
        )
    if delta is not None and not 0 < delta < 1:
        raise ConfigError(f"setting a privacy budget: delta is {delta}; it lies above 0 and under one over the records")
    if unit not in PLURAL:
        raise ConfigError(f"setting a privacy budget: unit is {unit}; use one of {', '.join(PLURAL)}")


def _place(budget_id: str, participant: str | None, federation: bool, folder: Path) -> Path:
    """Return the ledger that is meant.

    Raises: LedgerError if that is not certain: a budget in a ledger that nobody asks would protect nothing.
    """
    if federation and participant is not None:
        raise ConfigError("setting a privacy budget: give --participant or --federation, not both")
    if federation:
        return federation_ledger(folder)
    if participant is not None:
        return participant_ledger(folder, participant)
    holding = []
    for path in ledgers_in(folder):
        with _opened(path) as ledger:
            if budget_id in {account.budget_id for account in ledger.accounts()}:
                holding.append(path)
    if len(holding) == 1:
        return holding[0]
    if holding:
        owners = ", ".join(owner_of(path) for path in holding)
        raise LedgerError(f"several ledgers have a budget {budget_id}: those of {owners}; say whose by --participant")
    raise LedgerError(
        f"no ledger in {folder} has a budget {budget_id} yet; say whose data it is for by --participant NAME, "
        "the name that they have in the run's YAML file, or by --federation"
    )


def _delta(account: Account | None, budget_id: str, unit: str) -> float:
    if account is None or account.records is None:
        raise ConfigError(
            f"setting a privacy budget: nothing was trained on the data of {budget_id} yet, so their number is not "
            "known; give --delta, well under one over it, such as 1e-6"
        )
    if unit == "block":
        raise ConfigError("setting a privacy budget: a ledger does not know the number of blocks; give --delta")
    return default_delta(account.records)


def _standing(ledger: Ledger, account: Account, unit: str) -> Mapping[str, Any]:
    limit = next((each for each in account.limits if each.unit == unit), None)
    spendings = [each for each in account.spendings if each.unit == unit]
    delta = limit.delta if limit else min((each.delta for each in spendings), default=None)
    spent = epsilon_of(account.spent(unit), delta) if delta is not None else 0.0
    return {
        "owner": ledger.owner,
        "ledger": str(ledger.path),
        "budget_id": account.budget_id,
        "unit": unit,
        "records": account.records,
        "changed_data_accepted": account.change_announced,
        "budget": _budget(limit),
        "epsilon": spent,
        "delta": delta,
        "remaining": max(limit.epsilon - spent, 0.0) if limit else None,
        "unsettled": sum(each.unsettled for each in spendings),
        "runs": [{**vars(each), "event": json.loads(each.event)} for each in spendings],
    }


def _budget(limit: Limit | None) -> Mapping[str, Any] | None:
    if limit is None:
        return None
    return {"epsilon": limit.epsilon, "delta": limit.delta, "note": limit.note, "set_at": limit.set_at}


@contextmanager
def _opened(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        ledger.close()
