"""FLARE's simulator between this process and itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployed.answering import Switchboard
from foedus.engines.flare.environment import LINK
from foedus.engines.link.sockets import HUB, Door, Hub, door_path

SITES = 2
START_S = 240


@contextmanager
def simulated(folder: Path) -> Iterator[tuple[Hub, Switchboard]]:
    """Run FLARE's simulator with sites s0, s1, …; folder: short, for sockets."""
    board, hub = Switchboard(SITES), Hub(folder / HUB)
    names = [f"s{number}" for number in range(SITES)]
    doors = [Door(door_path(folder, name), mailbox) for name, mailbox in zip(names, board.mailboxes, strict=True)]
    command = [sys.executable, "-W", "ignore", "-m", "foedus.engines.flare.simulated", str(folder / "sim"), *names]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, LINK: str(folder)}, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        began = time.monotonic()
        while len(hub.connected()) < SITES:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() - began < START_S, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield hub, board
    finally:
        hub.close()
        for door in doors:
            door.close()
        process.wait(120)
