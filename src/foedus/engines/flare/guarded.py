"""Runs one of FLARE's programs, and ends it when its starter is gone. A server listens as `listener` says.

python -m foedus.engines.flare.guarded MODULE ARGUMENTS. A coordinator that was killed would otherwise leave a server
behind, which holds the port that the next one needs.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

from foedus.engines.flare.environment import STARTER

SERVER = "nvflare.private.fed.app.server.server_train"


def end_with_starter() -> None:
    """Kill this process' group, from another thread, when the process that started it is gone.

    It may be gone before this is called, so that its number comes from itself.
    """
    parent = int(os.environ.get(STARTER, os.getppid()))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Run the program that is named first, with the arguments that follow."""
    end_with_starter()
    os.environ[STARTER] = str(os.getpid())  # for its jobs, which are sessions of their own
    del sys.argv[0]
    if sys.argv[0] == SERVER:
        from foedus.engines.flare.listener import install

        install()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
