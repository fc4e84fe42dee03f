"""Plans whose ε has a closed form, so that tests of a ledger compute no privacy-loss distribution."""

from __future__ import annotations

from collections.abc import Iterable

from foedus.privacy.ledger.composing import Charge
from foedus.privacy.plan import RecordPlan


def plan(noise_multiplier: float = 10.0, *, steps: int = 1, records: int = 100) -> RecordPlan:
    """Return full-batch private training: each step is a plain Gaussian."""
    return RecordPlan("record", noise_multiplier, 1.0, 1.0, steps, 1e-5, records)


def charge(budget_id: str = "icu", rounds: int = 10, noise_multiplier: float = 10.0, steps: int = 1) -> Charge:
    return Charge(budget_id, plan(noise_multiplier, steps=steps), rounds)


def rows(numbers: Iterable[int]) -> list[bytes]:
    return [f"row {number}".encode() for number in numbers]
