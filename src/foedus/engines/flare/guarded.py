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


SERVER = "nvflare.private.fed.app.server.server_train"


def end_with(parent: int) -> None:
    """Kill this process' group when the process of this number is no longer its parent."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Run the program that is named first, with the arguments that follow."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    del sys.argv[0]
    if sys.argv[0] == SERVER:
        from foedus.engines.flare.listener import install

        install()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
