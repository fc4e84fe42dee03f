"""How a participant's connection stands, read off what FLARE's client prints: it retries in silence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

MOST_BYTES = 1 << 20  # that are read at once; more of a log is skipped

_SIGNS = (
    (
        re.compile(rb"CERTIFICATE_VERIFY_FAILED"),
        "the coordinator at {place} shows a certificate of another federation, or one that has ended: compare "
        "fingerprints, and the clock of this machine",
    ),
    (
        re.compile(rb"alert unknown ca|alert certificate|alert bad certificate|CERTIFICATE_REQUIRED"),
        "the coordinator at {place} does not accept this kit's certificate: it is of another federation, or has ended",
    ),
    (
        re.compile(rb"ConnectionRefusedError|gaierror|TimeoutError|No route to host|Network is unreachable"),
        "nobody answers at {place}: the coordinator is not started, or the network keeps this machine from it; tried "
        "again every few seconds",
    ),
    (re.compile(rb"Successfully registered client"), "connected to the coordinator at {place}"),
)


class Connection:
    """Follows the log of FLARE's client from its present end. place: the coordinator's host and port."""

    def __init__(self, log: Path, place: str) -> None:
        self._new = NewLines(log)
        self._place = place
        self._said = ""

    def news(self) -> str:
        """Return what has changed since the last call, in a sentence; nothing if nothing has."""
        latest = ""
        for line in self._new.read():
            for sign, meaning in _SIGNS:
                if sign.search(line):
                    latest = meaning.format(place=self._place)
                    break
        if not latest or latest == self._said:
            return ""
        self._said = latest
        return latest


class NewLines:
    """What comes into a log after its present end."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = log.stat().st_size if log.exists() else 0

    def read(self) -> Sequence[bytes]:
        """Return the lines that came since the last call; of very many, the latest."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, 2)
                self._at = 0 if size < self._at else max(self._at, size - MOST_BYTES)
                file.seek(self._at)
                text = file.read(size - self._at)
        except FileNotFoundError:
            return ()
        self._at = size
        return text.splitlines()
