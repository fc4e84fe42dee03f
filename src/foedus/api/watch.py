"""`foedus watch --web`: a page of a federation's state, served to this machine alone unless told otherwise.

Who has the token sees the page. It is compared in constant time, put into a cookie that scripts cannot read, and the
page loads nothing from anywhere else.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from foedus.api.run_source import run_source
from foedus.core.errors import ConfigError, FoedusError
from foedus.reporting.live import page, values, view

COOKIE = "foedus"
LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 24


class WatchServer:
    """Serves the page of a folder's run until it is closed.

    folder: the coordinator's kit, a researcher's, or a run's folder. name: which run; the latest unless told.
    run: returns the folder that it shows.
    Raises: ConfigError if the address cannot be used; LinkError for a participant's kit.
    """

    def __init__(
        self, folder: Path, name: str | None = None, *, host: str = LOOPBACK, port: int = 0, token: str | None = None
    ) -> None:
        self.token = token or secrets.token_urlsafe(TOKEN_BYTES)
        self._source = ExitStack()
        self.run = self._source.enter_context(run_source(folder, name))
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self.token, self.run))
        except OSError as error:
            raise ConfigError(f"the page cannot be served at {host}, port {port}: {error.strerror}") from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.host = host

    @property
    def address(self) -> str:
        """What to open in a browser; the token in it is what lets one in."""
        return f"http://{self.host}:{self.port}/?token={self.token}"

    def serve(self) -> None:
        """Answer until `close`."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._source.close()


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _handler(token: str, run: Callable[[], Path]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "foedus"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if not self._names_this_server():
                self._send(403, "text/plain", b"this page is served under its own address only\n")
                return
            if given := parse_qs(place.query).get("token"):
                self._let_in(given[0])
                return
            if not self._is_let_in():
                self._send(403, "text/plain", b"open the address that foedus watch printed, with its token\n")
                return
            match place.path:
                case "/":
                    nonce = secrets.token_urlsafe(16)
                    self._send(200, "text/html; charset=utf-8", page(nonce).encode(), nonce)
                case "/view.json":
                    self._told(lambda folder: {"title": f"{folder.name} · foedus", "html": view(folder)})
                case "/state.json":
                    self._told(values)
                case _:
                    self._send(404, "text/plain", b"there is no such page\n")

        def _names_this_server(self) -> bool:
            """Another site's name that leads here (DNS rebinding) is not one of ours."""
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            bound = str(self.server.server_address[0])  # type: ignore[index] # of an internet socket it is a pair
            return host == bound or is_loopback(host) or not is_loopback(bound)

        def _let_in(self, given: str) -> None:
            if not hmac.compare_digest(given.encode(), token.encode()):
                self._send(403, "text/plain", b"this is not the token that foedus watch printed\n")
                return
            self.send_response(303)
            self.send_header("Location", "/")
            self.send_header("Set-Cookie", f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/")
            self._guards()
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _is_let_in(self) -> bool:
            try:
                morsel = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
            except CookieError:
                return False
            return morsel is not None and hmac.compare_digest(morsel.value.encode(), token.encode())

        def _told(self, tell: Callable[[Path], object]) -> None:
            try:
                answer = json.dumps(tell(run()))
            except FoedusError as error:
                from markupsafe import escape

                text = str(error)
                html = f'<main id="content" class="page"><p class="warning">{escape(text)}</p></main>'
                answer = json.dumps({"title": "foedus", "html": html, "error": text})
            self._send(200, "application/json", answer.encode())

        def _send(self, status: int, kind: str, body: bytes, nonce: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self._guards(nonce)
            self.end_headers()
            self.wfile.write(body)

        def _guards(self, nonce: str = "") -> None:
            own = f" 'nonce-{nonce}'" if nonce else " 'none'"
            self.send_header(
                "Content-Security-Policy",
                f"default-src 'none'; script-src{own}; style-src{own}; connect-src 'self'; base-uri 'none'; "
                "form-action 'none'; frame-ancestors 'none'",
            )
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.send_header("Cache-Control", "no-store")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Log nothing: the token would stand in it."""

    return Handler
