"""Processor time of all processes of a benchmark, by what they do there."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path


def seconds_by_role(folder: Path, roles: Mapping[str, str]) -> Mapping[str, float]:
    """Return the processor seconds so far of the processes whose command or folder names `folder`.

    roles: what marks a role, in the command line; the first that fits is a process' role.
    """
    ticks, found = os.sysconf("SC_CLK_TCK"), defaultdict[str, float](float)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command, stat = (process / "cmdline").read_bytes().decode(), (process / "stat").read_text()
        except (OSError, ValueError):
            continue  # it ended meanwhile
        role = next((role for role, mark in roles.items() if mark in command), None)
        if role is not None and str(folder) in command:
            user, system = stat.rsplit(")", 1)[1].split()[11:13]
            found[role] += (int(user) + int(system)) / ticks
    return found
