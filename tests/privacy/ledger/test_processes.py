"""Neither processes at the same time nor SIGKILL at any moment make a ledger count less than was released."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foedus.privacy.accounting import epsilon
from foedus.privacy.events import Gaussian

HERE = Path(__file__).parent


def lines_of(*arguments: object) -> Sequence[Mapping[str, Any]]:
    program = [sys.executable, str(HERE / "processes.py"), *map(str, arguments)]
    paths = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_processes_that_spend_at_the_same_time_spend_the_budget_and_no_more(tmp_path: Path) -> None:
    fitting = 0
    while epsilon([(Gaussian(10.0), fitting + 1)], 1e-5) <= 1.0:
        fitting += 1
    processes = lines_of("race", tmp_path, 4, fitting)
    assert len(processes) == 4
    assert sum(process["reserved"] for process in processes) == fitting


def test_a_kill_at_any_moment_loses_no_spend_and_releases_no_second_reply_for_one_charge(tmp_path: Path) -> None:
    kills = lines_of("kill", tmp_path, 14)
    for one in kills:
        for found in (one["before"], one["after"]):
            require_covered(found, one["moment"])
        assert one["after"]["rounds"] == 2, one
        assert not one["after"]["outbox"]
    require_kills_everywhere(kills)


def require_covered(found: Mapping[str, Any], moment: int) -> None:
    """Check that each different reply that left, and each one that was computed, had been charged before."""
    released = {(name, number, value) for name, number, value in found["released"]}
    for (name, number), replies in Counter((name, number) for name, number, _ in released).items():
        assert replies <= found["charged"][name][str(number)], (moment, name, number)
    computed = Counter(number for _, number, _ in found["computed"])
    for number, count in computed.items():
        assert count <= sum(charged.get(str(number), 0) for charged in found["charged"].values()), (moment, number)


def require_kills_everywhere(kills: Sequence[Mapping[str, Any]]) -> None:
    """Check that the moments lay where it matters: otherwise the test would promise too much."""
    befores = [one["before"] for one in kills]
    assert {before["rounds"] for before in befores} >= {0, 1}
    assert any(before["outbox"] for before in befores)
    charges = [sum(sum(charged.values()) for charged in before["charged"].values()) for before in befores]
    assert any(charge > len(before["computed"]) for charge, before in zip(charges, befores, strict=True))
    # some round was redone at no charge by a reply that was kept, and some other was charged again
    twice = [Counter(map(tuple, one["after"]["released"])).most_common(1)[0][1] for one in kills]
    assert max(twice) == 2
    assert any(uses > 1 for one in kills for charged in one["after"]["charged"].values() for uses in charged.values())
