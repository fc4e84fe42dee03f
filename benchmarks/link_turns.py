"""Turns between programs that measure the same on one machine, so that whatever else runs there disturbs all alike."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PLACE = "FOEDUS_TURNS"  # the socket of whoever gives turns
START_S = 300
TURN_S = 600


def take_turns(do: Mapping[str, Callable[[], Any]]) -> None:
    """Do what is asked for by name, and answer what that returns, until nothing is asked any more."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[PLACE])
        with connection.makefile("r") as asked:
            for name in asked:
                connection.sendall(json.dumps(do[name.strip()]()).encode() + b"\n")


class Turns:
    """What one program is asked to do, in its turns."""

    def __init__(self, place: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen()
        self._listener.settimeout(START_S)
        self._connection: socket.socket | None = None

    def __call__(self, name: str) -> Any:
        """Return what the program answers."""
        if self._connection is None:
            self._connection, _ = self._listener.accept()
            self._connection.settimeout(TURN_S)
            self._answers = self._connection.makefile("r")
        self._connection.sendall(name.encode() + b"\n")
        return json.loads(self._answers.readline())

    def end(self) -> None:
        """Ask for nothing more."""
        if self._connection is not None:
            self._answers.close()
            self._connection.close()
        self._listener.close()
