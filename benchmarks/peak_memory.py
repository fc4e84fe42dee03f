"""The largest resident size of this process."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_mebibytes() -> float:
    """Return this process' largest resident size; getrusage would count that of the process that started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
