"""FLARE's simulator as the link, for tests without a network: server and sites on this machine, unauthenticated.

Started as a program, it ends when the hub closes its lanes: python -m foedus.engines.flare.simulated FOLDER SITE …
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from foedus.engines.flare.environment import SPARING
from foedus.engines.flare.job import NAME, allow_classes, link_recipe


def simulate(folder: Path, sites: Sequence[str]) -> None:
    """Run the link's job between simulated sites of these names until it ends."""
    recipe = link_recipe()
    from nvflare.recipe.sim_env import SimEnv

    for name, value in SPARING.items():
        os.environ.setdefault(name, value)  # the simulator runs in a process of its own
    allow_classes(folder / NAME / "local")
    recipe.execute(SimEnv(clients=list(sites), workspace_root=str(folder)))


if __name__ == "__main__":
    simulate(Path(sys.argv[1]), sys.argv[2:])
