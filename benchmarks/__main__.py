"""Run all benchmarks of speed and memory, or those named: python -m benchmarks [start] [simulation] [memory] …

pretraining_quality, which takes half an hour, runs when it is named.
"""

from __future__ import annotations

import os
import sys

from benchmarks import (
    accounting,
    compression,
    deployed,
    distributed_dp,
    encrypted_sum,
    link,
    memory,
    pretraining,
    pretraining_quality,
    private_gradients,
    secure_sum,
    signatures,
    simulation,
    start,
    threshold_sum,
)

BENCHMARKS = {
    "start": start.main,
    "simulation": simulation.main,
    "memory": memory.main,
    "compression": compression.main,
    "accounting": accounting.main,
    "pretraining": pretraining.main,
    "secure_sum": secure_sum.main,
    "encrypted_sum": encrypted_sum.main,
    "signatures": signatures.main,
    "distributed_dp": distributed_dp.main,
    "threshold_sum": threshold_sum.main,
    "private_gradients": private_gradients.main,
    "link": link.main,
    "deployed": deployed.main,
}
ON_REQUEST = {"pretraining_quality": pretraining_quality.main}

if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in sys.argv[1:] or BENCHMARKS:
        {**BENCHMARKS, **ON_REQUEST}[name]()
