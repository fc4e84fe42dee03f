"""What runs in FLARE's job at a participant's site: it passes frames between the network and the participant's door.

FLARE starts it by name; this module imports nvflare, so nothing else imports it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path

from nvflare.collab import collab

from foedus.core.errors import LinkError
from foedus.engines.flare.environment import LINK, carry_bytes_alone
from foedus.engines.flare.guarded import end_with_starter
from foedus.engines.flare.large_calls import LargeCalls
from foedus.engines.link.frames import receive_frame, send_frame
from foedus.engines.link.sockets import door_path

SERVER = "server"  # FLARE's name for its server, in a call's context


class FlareSite:
    """One site's end of FLARE's job."""

    def __init__(self) -> None:
        self._local = threading.local()
        carry_bytes_alone()

    @collab.init  # type: ignore[untyped-decorator] # nvflare ships no types
    def watch(self) -> None:
        """End this job when FLARE's client is gone, which leaves its jobs behind otherwise."""
        self._calls = LargeCalls()
        end_with_starter()

    @collab.publish  # type: ignore[untyped-decorator] # nvflare ships no types
    def call(self, header: bytes, body: bytes) -> list[bytes | bytearray]:
        """Return the participant's answer to a frame. Only the server may ask: FLARE lets sites call each other."""
        if collab.caller != SERVER:
            raise LinkError("a call came from another site; only the coordinator's are answered")
        try:
            connection = self._connection()
            send_frame(connection, json.loads(header), [body])
            answer, content = receive_frame(connection)
        except OSError:
            self._drop()
            raise LinkError("the participant's own process is not running") from None
        self._calls.sent(len(content))
        return [json.dumps(answer).encode(), content]

    def _connection(self) -> socket.socket:
        """Return this thread's connection to the participant's door."""
        connection: socket.socket | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(door_path(Path(os.environ[LINK]), str(collab.site_name))))
            self._local.connection = connection
        return connection

    def _drop(self) -> None:
        connection: socket.socket | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
