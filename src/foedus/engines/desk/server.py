"""The coordinator's desk: what a researcher asks over HTTPS, one request a connection.

Nobody is heard before TLS has shown a certificate of the federation, and nobody but researchers after. Connections at
once, what one may ask in a second, and bytes of a request are bounded; who is slow is hung up on.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from foedus.core.errors import FoedusError, LinkError, MessageError
from foedus.engines.desk.identity import desk_context, require_researcher
from foedus.engines.desk.requests import DESK, KINDS, MAX_REQUEST_BYTES, TOO_OFTEN, Asked, read_request
from foedus.engines.kits.kit import Kit

CONNECTIONS = 32  # at once, of all researchers together
SLOW_S = 30.0  # that nothing may come, or go
PER_SECOND, AT_ONCE = 20.0, 200.0  # requests of one researcher: on average, and after a pause


@dataclass(frozen=True)
class FileAnswer:
    """A file to send as it is. size: the bytes that were announced."""

    path: Path
    size: int


# From a researcher's name and what it asks to JSON values or a file. Raises FoedusError.
Answering = Callable[[str, Asked], Mapping[str, Any] | FileAnswer]


class Desk:
    """Answers at the researchers' port of a coordinator's kit, from `start` to `stop`.

    host, port: where; all of this machine's addresses, and the kit's port, unless told.
    Raises: LinkError if the port is taken, or the kit's certificate cannot be used.
    """

    def __init__(self, kit: Kit, answer: Answering, *, host: str = "", port: int | None = None) -> None:
        at = (kit.league.researchers_port or 0) if port is None else port
        try:
            self._server = _Server((host, at), desk_context(kit), _handler(kit, answer, _Rates()))
        except OSError as error:
            raise LinkError(
                f"researchers cannot be served at port {at}: {error.strerror}; stop what uses it, or found the "
                "federation with another coordinator.researchers_port"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="foedus-desk", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Greets each connection in a thread of its own: a silent one keeps nobody waiting."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, handler: type[BaseHTTPRequestHandler]
    ) -> None:
        self._context = context
        self._room = threading.Semaphore(CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection if there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Have both sides show who they are, and answer."""
        request.settimeout(SLOW_S)
        with self._context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)
            with suppress(OSError):
                connection.unwrap().shutdown(socket.SHUT_WR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave the connection: the other side has none of the federation's certificates, or is gone."""


class _Rates:
    """How often each researcher may ask: a bucket that fills with time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def may_ask(self, name: str) -> bool:
        """Return whether one more request is within bounds, and count it if so."""
        with self._lock:
            now = self._now()
            left, at = self._left.get(name, (AT_ONCE, now))
            left = min(AT_ONCE, left + (now - at) * PER_SECOND)
            self._left[name] = (left - 1 if left >= 1 else left, now)
            return left >= 1


def _handler(kit: Kit, answer: Answering, rates: _Rates) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "foedus"
        sys_version = ""
        timeout = SLOW_S

        def do_POST(self) -> None:
            self.close_connection = True
            try:
                name = require_researcher(self.connection.getpeercert(), kit.league)
            except LinkError as error:
                self._refuse(403, error)
                return
            if not rates.may_ask(name):
                self._refuse(
                    TOO_OFTEN, LinkError(f"{name} asks more than {PER_SECOND:.0f} times a second; wait a little")
                )
                return
            try:
                found = answer(name, read_request(self._body()))
            except FoedusError as error:
                self._refuse(400, error)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong costs this request only
                self._refuse(500, LinkError(f"the coordinator could not answer: it raised {type(error).__name__}"))
            else:
                self._give(found)

        def _body(self) -> bytes:
            if self.path != DESK:
                raise MessageError(f"{self.path[:100]!r} is nothing that the coordinator serves")
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()) or len(length) > 9:
                raise MessageError("a request tells its length in bytes")
            if int(length) > MAX_REQUEST_BYTES:
                raise MessageError(f"a request has {length} bytes; at most {MAX_REQUEST_BYTES} are taken")
            return self.rfile.read(int(length))

        def _give(self, found: Mapping[str, Any] | FileAnswer) -> None:
            if not isinstance(found, FileAnswer):
                self._send(200, json.dumps(found).encode())
                return
            with found.path.open("rb") as file:
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(found.size))
                self.end_headers()
                shutil.copyfileobj(file, self.wfile, 1 << 18)

        def _refuse(self, status: int, error: FoedusError) -> None:
            self._drain()
            kind = type(error).__name__
            self._send(status, json.dumps({"error": str(error), "kind": kind if kind in KINDS else ""}).encode())

        def _drain(self) -> None:
            """Take what is still under way of a short request: who sends it reads no answer before."""
            with suppress(OSError):
                self.connection.settimeout(0.2)
                for _ in range(16):
                    if not self.connection.recv(1 << 14):
                        return

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Log nothing here: what is done about a request is told where it is done."""

    return Handler
