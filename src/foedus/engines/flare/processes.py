"""FLARE's server and clients as processes of ours: started from a kit, their output in files, stopped with us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from foedus.engines.flare.environment import LINK, SPARING, STARTER
from foedus.engines.flare.guarded import SERVER

STOP_S = 15.0
_GUARDED = "foedus.engines.flare.guarded"
_SERVER = (SERVER, "fed_server.json")
_CLIENT = ("nvflare.private.fed.app.client.client_train", "fed_client.json")


class FlareProcess:
    """One running process of FLARE and all that it starts.

    link: the folder of sockets by which its jobs reach us. log: what it prints.
    """

    def __init__(self, command: list[str], folder: Path, link: Path, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - FLARE's own modules
                command,
                cwd=folder,
                env=_environment(link),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # its jobs are ended with it, as one group
            )

    @property
    def pid(self) -> int:
        """The process' number, and its group's."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S if number == signal.SIGTERM else None)


def start_server(kit: Path, organisation: str, link: Path, log: Path) -> FlareProcess:
    """Start FLARE's server from a kit's folder."""
    return FlareProcess(_command(_SERVER, kit, [f"org={organisation}"]), kit, link, log)


def start_client(kit: Path, name: str, organisation: str, link: Path, log: Path) -> FlareProcess:
    """Start FLARE's client of this name from a kit's folder."""
    return FlareProcess(_command(_CLIENT, kit, [f"uid={name}", f"org={organisation}"]), kit, link, log)


def _command(program: tuple[str, str], kit: Path, settings: list[str]) -> list[str]:
    module, config = program
    fixed = ["secure_train=true", "config_folder=config"]
    return [sys.executable, "-u", "-m", _GUARDED, module, "-m", str(kit), "-s", config, "--set", *fixed, *settings]


def _environment(link: Path) -> Mapping[str, str]:
    # FLARE's imports warn of what they will change in later versions; that is not for this process' users
    return {**SPARING, **os.environ, LINK: str(link), STARTER: str(os.getpid()), "PYTHONWARNINGS": "ignore"}
