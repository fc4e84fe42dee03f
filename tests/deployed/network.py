"""A network between a participant and the coordinator that can be cut, fall silent, get slow, or change bytes."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Mode = Literal["open", "cut", "silent"]
_READ_BYTES = 1 << 16


class Proxy:
    """Carries TCP connections to a port of this machine, from `start` to `close`.

    cut: connections are closed, and new ones refused. silent: connections stay open and new ones are taken, but nothing
    gets through; what was sent arrives after healing, but on connections that were forgotten, never. bytes_per_s: of
    each connection, each way. flips: how many of the next pieces get a bit changed on their way.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._mode: Mode = "open"
        self._lock = threading.Lock()
        self._flows: set[_Flow] = set()
        self._listener = _listening(0)
        self.port: int = self._listener.getsockname()[1]
        self.bytes_per_s: float | None = None
        self.flips = 0
        self.open = threading.Event()
        self.open.set()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._mode = "cut"
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends what waits in accept; closing alone does not
        self._listener.close()
        self._end_all()

    def silence(self) -> None:
        """Carry nothing from now on, and close nothing."""
        self._mode = "silent"
        self.open.clear()

    def heal(self, *, forget: bool = False) -> None:
        """Carry everything again. forget: but for what is on connections of before."""
        if forget:
            with self._lock:
                for flow in self._flows:
                    flow.forgotten = True
        if self._mode == "cut":
            self._listener = _listening(self.port)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        self._mode = "open"
        self.open.set()

    def flip(self) -> bool:
        """Return whether the next piece is to be changed."""
        with self._lock:
            self.flips -= self.flips > 0
            return self.flips >= 0

    def close(self) -> None:
        """Carry nothing any more."""
        self.cut()

    def _end_all(self) -> None:
        with self._lock:
            flows, self._flows = self._flows, set()
        for flow in flows:
            flow.end()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # it was closed
            try:
                far = socket.create_connection(("127.0.0.1", self._to), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            flow = _Flow(self, near, far)
            with self._lock:
                self._flows.add(flow)
            flow.start()


class _Flow:
    """One connection, both ways."""

    def __init__(self, proxy: Proxy, near: socket.socket, far: socket.socket) -> None:
        self._proxy, self._near, self._far = proxy, near, far
        self.forgotten = False

    def start(self) -> None:
        for source, sink in ((self._near, self._far), (self._far, self._near)):
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def end(self) -> None:
        for side in (self._near, self._far):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := bytearray(source.recv(_READ_BYTES)):
                self._proxy.open.wait()
                if self.forgotten:
                    return
                if rate := self._proxy.bytes_per_s:
                    time.sleep(len(piece) / rate)
                if self._proxy.flips and self._proxy.flip():
                    piece[len(piece) // 2] ^= 1
                sink.sendall(piece)
        except OSError:
            pass
        if not self.forgotten:
            self.end()


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    return listener


@contextlib.contextmanager
def between(kit: Path) -> Iterator[Proxy]:
    """Put a proxy between a participant's kit and its coordinator."""
    path = kit / "startup" / "fed_client.json"
    text = path.read_text()
    target = json.loads(text)["servers"][0]["service"]["target"]
    proxy = Proxy(int(target.rpartition(":")[2]))
    path.write_text(text.replace(target, f"localhost:{proxy.port}"))
    try:
        yield proxy
    finally:
        proxy.close()
        path.write_text(text)
