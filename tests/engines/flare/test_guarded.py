"""FLARE's programs end with those who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from foedus.engines.flare.environment import STARTER

SERVES_FOREVER = ["http.server", "0", "--bind", "127.0.0.1"]


def guarded(starter: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "foedus.engines.flare.guarded", *SERVES_FOREVER],
        env={**os.environ, STARTER: str(starter)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_a_program_whose_starter_was_killed_before_it_could_look_ends_all_the_same() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with guarded(gone.pid) as process:
        assert process.wait(60) == -signal.SIGKILL


def test_a_program_runs_as_long_as_its_starter() -> None:
    with guarded(os.getpid()) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
        process.kill()
