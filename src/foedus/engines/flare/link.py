"""Keeps the link up: FLARE's server, and its job between it and all sites that are connected.

FLARE does not take a site into a job that runs already, and gives a job up when one site's part of it dies. So the job
is submitted again whenever it is over, or somebody is there whom it does not reach. Messages that were on their way
are sent again under their numbers; no model is loaded for it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from foedus.core.errors import LinkError
from foedus.engines.flare.processes import FlareProcess, start_server
from foedus.engines.flare.session import Session
from foedus.engines.link.courier import PING_S, LinkLost
from foedus.engines.link.sockets import Hub

LOOKS_EVERY_S = 2.0
SETTLING_S = 6.0  # that a site is connected before the job is started anew for it: others may follow
SILENT_S = (
    8.0  # that a site answers nothing, before FLARE is asked whether it plays the job: calls wait 5 s for answers
)
TOUCH_S = 10.0  # after which a site that nobody asks is asked whether it is there, which shows it the same of us
STARTING_S = 120.0  # that a job may take to reach its sites


@dataclass(frozen=True)
class Placement:
    """Where FLARE's server starts from, who submits its job, and where its output goes.

    kit: the coordinator's. startup, user: the submitter's start-up folder and name. server: its host and
    port; as long as nobody listens there, nobody logs in. sites: whom jobs are for; who else of the federation connects
    as a site, which its certificate allows, is not waited for.
    """

    kit: Path
    startup: Path
    user: str
    log: Path
    sites: Collection[str]
    server: tuple[str, int] | None = None


class Link:
    """Runs in a thread of its own, from `start` to `stop`. tell: is told in a sentence what happens."""

    def __init__(self, placement: Placement, hub: Hub, folder: Path, tell: Callable[[str], None]) -> None:
        self._placement = placement
        self._hub = hub
        self._folder = folder
        self._tell = tell
        self._stopping = threading.Event()
        self._server: FlareProcess | None = None
        self._session: Session | None = None
        self._job: str | None = None
        self._submitted = 0.0
        self._unreached_since: float | None = None
        self._there: Collection[str] = ()
        self._thread = threading.Thread(target=self._loop, name="foedus-link", daemon=True)
        self.trouble = ""

    def start(self) -> None:
        """Start FLARE's server and keep the link up from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the job and the server."""
        self._stopping.set()
        self._thread.join(timeout=30)
        if self._session is not None:
            self._session.close()
        if self._server is not None:
            self._server.stop()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._keep_in_touch()
                self._look()
                self.trouble = ""
            except LinkError as error:
                if self._session is not None:
                    self._session.close()
                self._session, self.trouble = None, str(error)
            self._stopping.wait(LOOKS_EVERY_S)

    def _keep_in_touch(self) -> None:
        for name in self._hub.unasked(TOUCH_S):
            threading.Thread(target=_touch, args=(self._hub, name), daemon=True).start()

    def _look(self) -> None:
        """See what is missing, and do the next thing about it."""
        if self._server is None or not self._server.is_alive():
            if self._server is not None:
                self._tell("FLARE's server ended; it is started again")
                self._server.stop()
            self._session = self._job = None
            self._server = start_server(self._placement.kit, "coordinator", self._folder, self._placement.log)
            return
        if self._session is None:
            if self._placement.server is not None and not _is_listened_at(*self._placement.server):
                return
            self._session = Session(self._placement.startup, self._placement.user)
            for stale in self._session.running():
                if stale != self._job:
                    self._session.abort(stale)
        there = set(self._session.clients()) & set(self._placement.sites)
        reached = self._reached(self._session)
        if self._job is not None and self._is_over(self._session):
            self._tell("the link's job is over; it is submitted again")
            self._hub.hang_up()
            self._session.abort(self._job)
            self._job = None
        if self._job is not None and self._has_unreached(there, reached):
            self._tell(f"connects {', '.join(sorted(set(there) - set(reached)))}")
            self._hub.hang_up()
            self._session.abort(self._job)
            self._job = None
        first_seen, self._there = there != self._there, there
        if self._job is None and there and not first_seen:  # who comes at the same time is taken in at once
            self._job, self._submitted = self._session.submit(), time.monotonic()
            self._unreached_since = None

    def _reached(self, session: Session) -> Collection[str]:
        """Return the sites that the job reaches.

        FLARE does not tell a job that a site has started again, and lets calls to it wait out their time.
        """
        reached = set(self._hub.connected())
        if self._job is not None and (silent := self._hub.silent(SILENT_S)):
            reached -= set(session.without(self._job, silent))
        return reached

    def _is_over(self, session: Session) -> bool:
        assert self._job is not None, "it is asked of a job"
        if self._hub.connected():
            return False
        return "FINISHED" in session.status(self._job) or time.monotonic() - self._submitted > STARTING_S

    def _has_unreached(self, there: Collection[str], reached: Collection[str]) -> bool:
        """Return whether somebody has been there for a while whom the running job does not reach."""
        if not self._hub.connected() or set(there) <= set(reached):
            self._unreached_since = None
            return False
        if self._unreached_since is None:
            self._unreached_since = time.monotonic()
        return time.monotonic() - self._unreached_since > SETTLING_S


def _touch(hub: Hub, name: str) -> None:
    with contextlib.suppress(LinkLost):
        hub.call(name, {"op": "ping"}, [], PING_S)


def _is_listened_at(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=LOOKS_EVERY_S):
        return True
    return False
