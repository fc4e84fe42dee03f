from __future__ import annotations

import math
from dataclasses import replace

import pytest

from foedus.training.settings import LocalSettings, Schedule, learning_rate_at

PEAK = LocalSettings(learning_rate=2.0)
SCHEDULES: list[Schedule] = ["constant", "linear", "cosine"]


def rates(schedule: Schedule, warmup: float, *progress: float) -> list[float]:
    settings = replace(PEAK, schedule=schedule, warmup=warmup)
    return [learning_rate_at(settings, p) for p in progress]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2.0, 2.0, 2.0, 2.0]),
        ("linear", [2.0, 1.5, 1.0, 0.0]),
        ("cosine", [2.0, 1 + math.sqrt(0.5), 1.0, 0.0]),
    ],
)
def test_a_schedule_falls_over_the_whole_run(schedule: Schedule, expected: list[float]) -> None:
    assert rates(schedule, 0.0, 0.0, 0.25, 0.5, 1.0) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_along_a_line_to_the_peak(schedule: Schedule) -> None:
    assert rates(schedule, 0.2, 0.0, 0.05, 0.1, 0.2) == pytest.approx([0.0, 0.5, 1.0, 2.0])


def test_after_the_warm_up_the_schedule_has_the_rest_of_the_run() -> None:
    assert rates("linear", 0.2, 0.6, 1.0) == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_may_warm_up_to_its_very_end(schedule: Schedule) -> None:
    assert rates(schedule, 1.0, 0.5, 1.0) == [1.0, 2.0]
