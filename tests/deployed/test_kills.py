"""A federation of real processes over mTLS, each of which is killed with kill -9 while runs are played.

`kill_matrix.py` kills each of them in each phase; here are the ones that end in different ways.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deployed.kill_matrix import federation
from deployed.services import Part, wait_until
from end_to_end.test_federation import processes_of

KILLS: tuple[tuple[Part, str], ...] = (
    ("trainer", "train"),  # costs its own answer
    ("participant", "train"),  # is told anew, and trains anew, unless it had given its one answer to a masked sum
    ("server's job", "train+2"),  # messages are sent again under their numbers
    ("coordinator", "train+3"),  # the round is lost, never repeated with the same masks
)


@pytest.mark.end_to_end
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are found in /proc")
def test_a_federation_whose_processes_are_killed_goes_on_by_itself_and_keeps_its_promises(tmp_path: Path) -> None:
    with federation(tmp_path, 8, ["private", "plain"]) as live:
        for part, phase in KILLS:
            live.kill(part, phase)
        live.finish()
        live.require_promises()
    assert all(not kill.lost for kill in live.kills if kill.part == "server's job")
    wait_until(lambda: not processes_of(live.kits), "the end of everything that was started")
