"""A process that does the work of one run, so that its death is one answer's failure and not its starter's end.

Nothing here imports torch: the process that starts it stays small, and is not what a lack of memory kills first.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foedus.core.errors import ParticipantError
from foedus.engines.link.frames import Piece, receive_long, send_long

MARK, REFUSED = "mark", "refused"
STOP_S = 10.0


class Child:
    """A running process. module: what `python -m` starts; it is given a connection's number and these facts.

    log: where what it prints goes. has_refused: whether its last answer was that this organisation does not allow it.
    """

    def __init__(self, module: str, facts: Mapping[str, Any], log: Path, most: int) -> None:
        self._connection, theirs = socket.socketpair()
        self._most = most
        self.has_refused = False
        command = [sys.executable, "-m", module, str(theirs.fileno()), json.dumps(facts)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        """The process' number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def ask(self, kind: str, data: Sequence[Piece], mark: Callable[[], None]) -> bytearray:
        """Return the answer to a message. mark: is called whenever the work gets on.

        Raises: ParticipantError if the process ends instead.
        """
        try:
            send_long(self._connection, {"kind": kind}, data)
            while True:
                header, answer = receive_long(self._connection, self._most)
                if header.get("kind") != MARK:
                    self.has_refused = header.get("kind") == REFUSED
                    return answer
                mark()
        except OSError:
            raise ParticipantError(f"its training process {self._ended()}; it is started again") from None

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        if self.is_alive():
            self._process.kill()
        self._process.wait()

    def _ended(self) -> str:
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code >= 0:
            return f"ended with code {code}"
        name = signal.Signals(-code).name
        return f"was killed ({name})" + (
            ", which the system often does for want of memory" if name == "SIGKILL" else ""
        )
