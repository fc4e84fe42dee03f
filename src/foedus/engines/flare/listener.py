"""FLARE's listener for TCP, made to withstand whoever connects and then says nothing.

FLARE shakes hands in the thread that accepts connections: one connection that stays silent there, with no certificate,
would keep everybody out. And it never notices a party whose machine or network vanished without closing.
"""

from __future__ import annotations

import socket
from typing import Any

from nvflare.fuel.f3.drivers import tcp_driver

HANDSHAKE_S = 20.0
GONE_S = 60  # that what was sent may stay unconfirmed
_ASKED_AFTER_S, _ASKED_EVERY_S, _ASKED_TIMES = 30, 10, 3


class Listener(tcp_driver.TcpStreamServer):  # type: ignore[misc] # nvflare ships no types
    """Accepts at once; each connection shakes hands in a thread of its own, within a time."""

    def __init__(self, driver: Any, connector: Any) -> None:
        super().__init__(driver, connector)
        if self.ssl_context:
            self.socket.do_handshake_on_connect = False

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands and serve; runs in the connection's own thread."""
        try:
            notice_when_gone(request)
            if self.ssl_context:
                request.settimeout(HANDSHAKE_S)
                request.do_handshake()
                request.settimeout(None)
        except OSError:
            return  # it had no certificate of ours, or said nothing; whoever called closes it
        super().finish_request(request, client_address)


def notice_when_gone(connection: socket.socket) -> None:
    """Let a connection end when its other side confirms nothing for GONE_S, as far as this system can."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": _ASKED_AFTER_S,
        "TCP_KEEPINTVL": _ASKED_EVERY_S,
        "TCP_KEEPCNT": _ASKED_TIMES,
        "TCP_USER_TIMEOUT": GONE_S * 1000,
    }
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def install() -> None:
    """Let FLARE's servers of this process listen by it."""
    tcp_driver.TcpStreamServer = Listener
