"""Frames between processes of one machine: a short header of JSON and a body of bytes, over a local socket.

A long body lies in memory that both sides see, where the system has that: a local socket takes 200 kB at a time, and
each time both processes would have to wait for their turn. The receiver then says in one byte that it has taken it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from foedus.core.errors import MessageError
from foedus.engines.link.slots import AVAILABLE, Slots

MAX_HEADER_BYTES = 1 << 20
MAX_BODY_BYTES = 1 << 26
SHARED_FROM_BYTES = 1 << 16
_LENGTHS = 8  # bytes: two numbers, most significant byte first
_TAKEN = b"."
_SLOTS = Slots()  # of this process

Header = Mapping[str, Any]
Piece = bytes | bytearray | memoryview


def send_frame(connection: socket.socket, header: Header, body: Sequence[Piece] = ()) -> None:
    """Send a frame.

    Raises: OSError if the other side is gone.
    """
    text = json.dumps(header).encode()
    size = sum(len(piece) for piece in body)
    if len(text) > MAX_HEADER_BYTES or size > MAX_BODY_BYTES:
        raise MessageError(f"a frame of {len(text)} and {size} bytes was to be sent; cut it in pieces")
    lengths = len(text).to_bytes(4, "big") + size.to_bytes(4, "big")
    if size >= SHARED_FROM_BYTES and AVAILABLE:
        with _SLOTS.filled(body, size) as number:
            socket.send_fds(connection, [lengths], [number])
            connection.sendall(text)
            if _receive(connection, len(_TAKEN)) != _TAKEN:
                raise MessageError("a frame's body was not taken")
        return
    connection.sendall(lengths + text)
    for piece in body:
        connection.sendall(piece)


def receive_frame(connection: socket.socket) -> tuple[Header, bytearray]:
    """Return the next frame's header and body.

    Raises: OSError if the other side is gone; MessageError if it sends no frames.
    """
    lengths, numbers, _, _ = socket.recv_fds(connection, _LENGTHS, 1)
    with ExitStack() as stack:
        for number in numbers:
            stack.callback(os.close, number)
        if not lengths:
            raise ConnectionResetError("the other side closed the connection")
        lengths += _receive(connection, _LENGTHS - len(lengths))
        text, size = int.from_bytes(lengths[:4], "big"), int.from_bytes(lengths[4:], "big")
        if text > MAX_HEADER_BYTES or size > MAX_BODY_BYTES:
            raise MessageError(f"a frame announces {text} and {size} bytes, more than a frame has")
        try:
            header = json.loads(_receive(connection, text))
        except (ValueError, RecursionError):
            raise MessageError("a frame's header is no JSON") from None
        if not isinstance(header, dict):
            raise MessageError("a frame's header is no mapping")
        if not numbers:
            return header, _receive(connection, size)
        body = _SLOTS.taken(numbers[0], size)
        connection.sendall(_TAKEN)
        return header, body


def _receive(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        got = connection.recv_into(view[at:])
        if got == 0:
            raise ConnectionResetError("the other side closed the connection")
        at += got
    return data


def send_long(connection: socket.socket, header: Header, pieces: Sequence[Piece]) -> None:
    """Send a header and bytes of any length.

    Raises: OSError if the other side is gone.
    """
    send_frame(connection, {**header, "size": sum(len(piece) for piece in pieces)})
    for piece in pieces:
        connection.sendall(piece)


def receive_long(connection: socket.socket, most: int) -> tuple[Header, bytearray]:
    """Return what `send_long` sent.

    Raises: OSError if the other side is gone; MessageError if it sends something else, or more than `most` bytes.
    """
    header, _ = receive_frame(connection)
    size = header.get("size")
    if type(size) is not int or not 0 <= size <= most:
        raise MessageError(f"a message of {size!r:.40} bytes is announced; at most {most} are taken")
    return header, _receive(connection, size)
