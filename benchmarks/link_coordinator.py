"""The link's end at the coordinator, in a process of its own."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from pathlib import Path

from benchmarks.link_turns import take_turns
from benchmarks.peak_memory import peak_mebibytes
from foedus.engines.link.courier import Courier
from foedus.engines.link.sockets import HUB, Hub
from foedus.engines.way import Letter, Silence


def to_all(way: Courier, sites: list[str], content: bytes) -> float:
    """Send to all and take the answers one by one, as the loop does; return the seconds."""
    letter = Letter("run", "train", [content])
    began = time.perf_counter()
    for _, answer in way.ask(dict.fromkeys(sites, letter)):
        assert not isinstance(answer, Silence), answer
        assert len(answer) == len(content)
        del answer  # as the engine does, before it asks for the next one
    return time.perf_counter() - began


def main(folder: Path, sites: list[str]) -> None:
    """Measure how long messages take to go to all sites and back, and how large the coordinator's processes were."""
    hub = Hub(folder / HUB)
    while len(hub.connected()) < len(sites):
        time.sleep(0.1)
    way, before = Courier(hub), peak_mebibytes()
    content = os.urandom(int(os.environ["LARGE_BYTES"]))
    take_turns(
        {
            "small": lambda: [to_all(way, sites, b"small") for _ in range(50)],
            "large": lambda: to_all(way, sites, content),
            "memory": lambda: {
                "server's job": round(sum(_peak_of(pid) for pid in _peers(hub))),
                "coordinator": round(peak_mebibytes()),
                "of which before the first message": round(before),
            },
        }
    )
    hub.close()


def _peers(hub: Hub) -> set[int]:
    """Return the processes that are connected to the hub: FLARE's job at the server."""
    credentials = [lane.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12) for lane in hub._open]
    return {struct.unpack("3i", each)[0] for each in credentials}


def _peak_of(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
