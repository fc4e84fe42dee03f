"""What runs in FLARE's job at the server: it passes frames between the coordinator's hub and the network.

FLARE starts it by name; this module imports nvflare, so nothing else imports it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from nvflare.collab import collab
from nvflare.collab.api.context import get_call_context, set_call_context

from foedus.engines.flare.environment import LINK, carry_bytes_alone
from foedus.engines.flare.guarded import end_with_starter
from foedus.engines.flare.large_calls import LargeCalls
from foedus.engines.link.frames import receive_frame, send_frame
from foedus.engines.link.sockets import HUB

LANES = 3  # calls that may be on their way to one site at once


class FlareCoordinator:
    """The server's end of FLARE's job; the job lasts until the coordinator closes its lanes."""

    def __init__(self) -> None:
        carry_bytes_alone()

    @collab.main  # type: ignore[untyped-decorator] # nvflare ships no types
    def relay(self) -> None:
        """Carry frames from the hub to every site of the job, each lane in a thread of its own."""
        end_with_starter()
        context, calls = get_call_context(), LargeCalls()
        threads = [
            threading.Thread(target=_lane, args=(client, context, calls), daemon=True)
            for client in list(collab.clients)
            for _ in range(LANES)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _lane(client: Any, context: Any, calls: LargeCalls) -> None:
    set_call_context(context)  # it is kept by thread
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(Path(os.environ[LINK]) / HUB))
            send_frame(connection, {"site": client.name})
            while True:
                calls.sent(_pass_on(connection, client))
        except OSError:
            return  # the coordinator is gone, or wants no more of this job


def _pass_on(connection: socket.socket, client: Any) -> int:
    """Carry one frame there and its answer back, and return what was sent; a lane that waits holds neither."""
    frame, body = receive_frame(connection)
    answer, content = _called(client, frame, body)
    send_frame(connection, answer, [content])
    return len(body)


def _called(client: Any, frame: Any, body: bytearray) -> tuple[dict[str, Any], bytes]:
    """Return a site's answer to a frame, or that there is none."""
    try:
        header, content = client(timeout=float(frame["timeout"])).call(json.dumps(frame["header"]).encode(), body)
        return {"header": json.loads(header)}, content
    except Exception as error:  # noqa: BLE001 - whatever FLARE raises, the call did not get through
        return {"header": None, "error": type(error).__name__}, b""
