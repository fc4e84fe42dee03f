"""What FLARE's processes are started with, and what its jobs do without."""

from __future__ import annotations

import sys
from typing import Any

LINK = "FOEDUS_LINK"  # the folder of local sockets by which jobs reach the coordinator, or the participant
STARTER = "FOEDUS_STARTER"  # the number of the process that one ends with: its own parent, if that still runs
# FLARE starts some hundred threads for each site, and each would keep memory of its own from what it once carried.
SPARING = {"MALLOC_ARENA_MAX": "1"}

_TENSORS = "nvflare.app_opt.pt.decomposers"


def carry_bytes_alone() -> None:
    """Keep a job of FLARE from loading torch for tensors that it might be given: 210 MB, and ours are bytes by then.

    FLARE's collab runtime loads this module of its own if it can be imported, and does without otherwise.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault(_TENSORS, None)
