import time
from pathlib import Path

import pytest

from foedus.engines.flare.client import KeptClient
from foedus.engines.flare.processes import FlareProcess

UNANSWERED = "CoreCell - WARNING - [ME=s0 TP=heart_beat] timeout on Request 9a2 for ['heart_beat'] after 30.0 secs\n"
OTHER = "CoreCell - WARNING - [ME=s0 TP=get_task] timeout on Request 9a2 for ['get_task'] after 30.0 secs\n"
QUIET_S = 0.2


@pytest.mark.parametrize(
    ("line", "heard", "started"),
    [(UNANSWERED, False, 2), (UNANSWERED, True, 1), (OTHER, False, 1)],
    ids=["unanswered", "heard meanwhile", "another request"],
)
def test_a_client_is_started_again_when_its_heartbeats_are_unanswered_and_nothing_is_heard(
    tmp_path: Path, line: str, heard: bool, started: int
) -> None:
    log, told = tmp_path / "log", list[str]()
    processes: list[FlareProcess] = []

    def start() -> FlareProcess:
        processes.append(FlareProcess(["sleep", "60"], tmp_path, tmp_path, tmp_path / "out"))
        return processes[-1]

    client = KeptClient(start, log, lambda: time.monotonic() if heard else None, told.append, QUIET_S)
    try:
        log.write_text(line)
        client.look()
        assert len(processes) == 1  # it may only be late
        time.sleep(1.5 * QUIET_S)
        client.look()
        assert len(processes) == started
        assert len(told) == started - 1
        assert [process.is_alive() for process in processes] == [False] * (started - 1) + [True]
    finally:
        client.stop()
