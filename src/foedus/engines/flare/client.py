"""FLARE's client at a participant: kept running, and in touch with the coordinator."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from foedus.engines.flare.connection import NewLines
from foedus.engines.flare.processes import FlareProcess

QUIET_S = 90.0  # the coordinator is heard every ten seconds, but for while its job starts
MOST_QUIET_S = 900.0
PAUSE_S = 5.0
_BEAT = b"heart_beat"
_UNANSWERED = b"timeout on Request"  # FLARE waits half a minute for an answer


class KeptClient:
    """Starts FLARE's client again when it has ended, or nothing has come through it for too long.

    Connections that were closed FLARE makes anew by itself. One that a machine on the way has forgotten is never
    closed, and FLARE waits on it for ever: its log says that its heartbeats are not answered. As long as starting again
    does not help, each time waits twice as long.
    log: FLARE's. heard: when something came last, by time.monotonic(). quiet_s: that nothing may come.
    """

    def __init__(
        self,
        start: Callable[[], FlareProcess],
        log: Path,
        heard: Callable[[], float | None],
        tell: Callable[[str], None],
        quiet_s: float = QUIET_S,
    ) -> None:
        self._start, self._heard, self._tell = start, heard, tell
        self._least_s = self._quiet_s = quiet_s
        self._news = NewLines(log)
        self._process = start()
        self._began = time.monotonic()
        self._unanswered = 0.0  # when a heartbeat was found unanswered last

    def look(self) -> None:
        """See whether it runs and is in touch, and start it again otherwise. To be called every second."""
        heard = self._heard() or 0.0
        if heard > self._began:
            self._quiet_s = self._least_s
        if not self._process.is_alive():
            self._tell("FLARE's client ended; it is started again")
            self._again(PAUSE_S)
        elif self._is_stuck(max(heard, self._began)):
            self._tell(f"nothing was heard of the coordinator for {self._quiet_s:.0f} s; the connection is made anew")
            self._quiet_s = min(2 * self._quiet_s, MOST_QUIET_S)
            self._again(0)

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def _is_stuck(self, heard: float) -> bool:
        if any(_BEAT in line and _UNANSWERED in line for line in self._news.read()):
            self._unanswered = time.monotonic()
        return time.monotonic() - heard > self._quiet_s and self._unanswered > heard

    def _again(self, pause_s: float) -> None:
        self._process.stop()
        time.sleep(pause_s)
        self._process = self._start()
        self._began = time.monotonic()
