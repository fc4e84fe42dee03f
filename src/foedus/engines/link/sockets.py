"""Both ends of the link as local sockets: the coordinator's hub, and each participant's door.

FLARE's jobs connect to them from the same machine. A socket's folder is its owner's alone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from foedus.core.errors import LinkError, MessageError
from foedus.engines.link.courier import LinkLost
from foedus.engines.link.frames import Header, receive_frame, send_frame
from foedus.engines.link.mailbox import Mailbox

if TYPE_CHECKING:  # torch is not for processes that only carry bytes
    from foedus.federation.messages import ParticipantId

HUB = "hub.sock"
_MAX_PATH = 100  # bytes of a local socket's path: systems allow 103 to 107


def door_path(folder: Path, site: str) -> Path:
    """Return where a site's door is."""
    return folder / f"{site}.sock"


def listen(path: Path) -> socket.socket:
    """Return a listening local socket that its owner alone can connect to.

    Raises: LinkError if there can be none at this place.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise LinkError(
            f"the socket {path} has a path longer than {_MAX_PATH} bytes; choose a folder with a shorter one"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise LinkError(f"the socket {path} cannot be made: {error.strerror}") from error
    return listener


def _stop_listening(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # which ends what waits in accept; closing alone does not
    listener.close()


class Hub:
    """The coordinator's end: FLARE's job connects, several times for each site, and carries frames to it."""

    def __init__(self, path: Path) -> None:
        self._listener = listen(path)
        self._lanes: dict[ParticipantId, queue.SimpleQueue[socket.socket]] = defaultdict(queue.SimpleQueue)
        self._open: dict[socket.socket, ParticipantId] = {}
        self._asked: dict[ParticipantId, float] = {}  # when each one was last
        self._unanswered: dict[ParticipantId, float] = {}  # since when each one that is asked answers nothing
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="foedus-hub", daemon=True).start()

    def connected(self) -> Collection[ParticipantId]:
        """Return the sites that FLARE's job reaches now."""
        with self._lock:
            return set(self._open.values())

    def silent(self, for_s: float) -> Collection[ParticipantId]:
        """Return the sites that lanes lead to, and that were asked and have answered nothing for so long."""
        with self._lock:
            since = time.monotonic() - for_s
            return {name for name in self._open.values() if self._unanswered.get(name, since) < since}

    def unasked(self, for_s: float) -> Collection[ParticipantId]:
        """Return the sites that lanes lead to, and that were asked nothing for so long."""
        with self._lock:
            since = time.monotonic() - for_s
            return {name for name in self._open.values() if self._asked.get(name, since) <= since}

    def call(
        self, name: ParticipantId, header: Header, body: list[memoryview], timeout_s: float
    ) -> tuple[Header, bytearray]:
        """Return a site's answer to a frame.

        Raises: LinkLost if there is none within the time.
        """
        with self._lock:
            self._asked[name] = time.monotonic()
            self._unanswered.setdefault(name, self._asked[name])
        try:
            lane = self._lanes[name].get(timeout=min(timeout_s, 1.0))
        except queue.Empty:
            raise LinkLost("is not connected") from None
        try:
            lane.settimeout(timeout_s + 5)
            send_frame(lane, {"timeout": timeout_s, "header": header}, body)
            answer, content = receive_frame(lane)
        except (OSError, MessageError) as error:
            self._close(lane)
            raise LinkLost(f"its connection broke ({type(error).__name__})") from None
        self._lanes[name].put(lane)
        if (inner := answer.get("header")) is None or not isinstance(inner, dict):
            raise LinkLost("a call to it did not get through")
        with self._lock:
            self._unanswered.pop(name, None)
        return inner, content

    def hang_up(self) -> None:
        """Close all lanes, so that the job that carries them ends."""
        with self._lock:
            lanes = list(self._open)
        for lane in lanes:
            self._close(lane)

    def close(self) -> None:
        """Take no connections any more."""
        self.hang_up()
        _stop_listening(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                lane, _ = self._listener.accept()
            except OSError:
                return  # it was closed
            try:
                lane.settimeout(10)
                hello, _ = receive_frame(lane)
                site = hello["site"]
            except (OSError, MessageError, KeyError):
                lane.close()
                continue
            with self._lock:
                self._open[lane] = site
            self._lanes[site].put(lane)

    def _close(self, lane: socket.socket) -> None:
        with self._lock:
            self._open.pop(lane, None)
        with contextlib.suppress(OSError):
            lane.shutdown(socket.SHUT_RDWR)
        lane.close()


class Door:
    """A participant's end: FLARE's job at its site connects and brings frames."""

    def __init__(self, path: Path, mailbox: Mailbox) -> None:
        self._listener = listen(path)
        self._mailbox = mailbox
        threading.Thread(target=self._accept, name="foedus-door", daemon=True).start()

    def close(self) -> None:
        """Take no connections any more."""
        _stop_listening(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, MessageError):
            while True:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        """Answer one frame; while the next one is awaited, neither is held."""
        header, body = receive_frame(connection)
        answer, content = self._mailbox.handle(header, body)
        send_frame(connection, answer, content)
