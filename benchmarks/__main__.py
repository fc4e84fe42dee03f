"""Run all benchmarks, or those named: python -m benchmarks [start] [simulation] [memory] [compression]
[accounting] [private_gradients]."""

from __future__ import annotations

import os
import sys

from benchmarks import accounting, compression, memory, private_gradients, simulation, start

BENCHMARKS = {
    "start": start.main,
    "simulation": simulation.main,
    "memory": memory.main,
    "compression": compression.main,
    "accounting": accounting.main,
    "private_gradients": private_gradients.main,
}

if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
