"""How long privacy takes to count: calibration, the table of ε by round, and the check before a round."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import TypeVar

from foedus.privacy.accounting import calibrate, epsilon_by_round
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.composition import epsilon_of
from foedus.privacy.plan import CohortPlan, Plan, RecordPlan, charges

Result = TypeVar("Result")

# name: plan by noise multiplier, rounds, ε
SETTINGS: dict[str, tuple[Callable[[float], Plan], int, float]] = {
    "record level, batch 256 of 50,000, 10 steps a round, 60 rounds": (
        lambda noise: RecordPlan("record", noise, 0.1, 256 / 50_000, 10, 1e-6, 50_000),
        60,
        1.0,
    ),
    "participant level, 50 of 1,000, cap 80, 200 rounds": (
        lambda noise: CohortPlan(noise, FixedClip(1.0), 1e-4, 1000, 0.05, 80),
        200,
        8.0,
    ),
    "participant level, 1,000 of 100,000, 2,000 rounds": (
        lambda noise: CohortPlan(noise, FixedClip(1.0), 1e-6, 100_000, 0.01),
        2000,
        2.0,
    ),
}


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result and the seconds that it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def main() -> None:
    _, loading = timed(lambda: epsilon_of(charges(RecordPlan("record", 1.0, 0.1, 0.1, 1, 1e-6, 1000), 1), 1e-6))
    print(f"loading the accountant and one step: {loading:.1f} s")
    for name, (plan_of, rounds, target) in SETTINGS.items():
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            plan, calibrating = timed(lambda: calibrate(target, rounds, plan_of))  # noqa: B023 - it runs at once
            table, tabulating = timed(lambda: epsilon_by_round(plan, rounds))  # noqa: B023
            epsilon_of.cache_clear()
            _, again = timed(lambda: (calibrate(target, rounds, plan_of), epsilon_by_round(plan, rounds)))  # noqa: B023
            _, checking = timed(lambda: table[rounds // 2 + 1] <= target)  # noqa: B023
        print(
            f"{name}: noise multiplier {plan.noise_multiplier:g} for ε {table[-1]:.3f} in {calibrating:.1f} s, "
            f"table in {tabulating:.1f} s (aim < 30 s), both from the cache in {1000 * again:.1f} ms; "
            f"check before a round {1000 * checking:.3f} ms (aim < 50 ms)",
            flush=True,
        )
