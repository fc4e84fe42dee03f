from __future__ import annotations

import pytest
import torch

from foedus.federation.messages import (
    Broadcast,
    Clock,
    Evaluate,
    Evaluation,
    Failure,
    LocalUpdate,
    Train,
    payload_bytes,
)

HALF = {"x": torch.zeros(6, dtype=torch.bfloat16)}  # 12 bytes
SINGLE = {"x": torch.zeros(6)}  # 24 bytes


@pytest.mark.parametrize(
    ("rounds_over", "part", "expected"), [(0, 0.0, 0.0), (0, 1.0, 0.25), (1, 0.0, 0.25), (3, 0.5, 0.875), (3, 1.0, 1.0)]
)
def test_progress_runs_over_the_whole_run(rounds_over: int, part: float, expected: float) -> None:
    assert Clock(rounds_over, rounds=4).progress(part) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Train(Broadcast({"params": SINGLE, "control": HALF}, Clock(0, 1))), 36),
        (Evaluate(HALF, "test"), 12),
        (LocalUpdate({"delta": SINGLE}, 3.0), 24 + 8),
        (LocalUpdate({"delta": SINGLE}, 3.0, {"control": HALF}, {"loss": 1.0, "norm": 2.0}), 36 + 3 * 8),
        (LocalUpdate({"delta": SINGLE}, 3.0, counts={"steps": 3, "tokens": 70}), 24 + 3 * 8),
        (Evaluation({"loss": torch.zeros(3, dtype=torch.float64)}), 24),
        (Failure("Süd"), 4),
    ],
)
def test_a_message_weighs_its_tensors_and_numbers(message: object, expected: int) -> None:
    assert payload_bytes(message) == expected  # type: ignore[arg-type] # all kinds in one table
