"""Memory that two processes see: whole bodies come through, few slots serve many, and none is read after its time."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foedus.core.errors import MessageError
from foedus.engines.link import frames
from foedus.engines.link.frames import SHARED_FROM_BYTES, receive_frame, send_frame
from foedus.engines.link.slots import AVAILABLE, KEPT, SLOT_BYTES, Slots

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no memory files")

LONG = SHARED_FROM_BYTES + 1


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        theirs.settimeout(10)
        yield ours, theirs


@pytest.mark.parametrize("size", [0, 1, SHARED_FROM_BYTES - 1, SHARED_FROM_BYTES, LONG, SLOT_BYTES + 1])
def test_a_body_of_any_length_comes_through(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    body = os.urandom(size)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send_frame, pair[0], {"a": 1}, [body[: size // 3], memoryview(body)[size // 3 :]])
        header, received = receive_frame(pair[1])
        assert header == {"a": 1}
        assert bytes(received) == body
        sent.result()


def test_what_was_received_stays_when_the_next_body_is_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(send_frame, pair[0], {}, [bytes(LONG)])
        _, first = receive_frame(pair[1])
        pool.submit(send_frame, pair[0], {}, [b"x" * LONG])
        receive_frame(pair[1])
    assert first == bytes(LONG)


def test_many_connections_that_take_turns_share_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots()
    monkeypatch.setattr(frames, "_SLOTS", slots)
    with ThreadPoolExecutor(1) as pool:
        for number in range(10):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                sent = pool.submit(send_frame, ours, {}, [bytes([number]) * LONG])
                assert receive_frame(theirs)[1] == bytes([number]) * LONG
                sent.result()
    assert (len(slots._free), len(slots._seen)) == (1, 1)


def test_bodies_that_are_sent_at_once_do_not_mix_and_few_slots_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots()
    monkeypatch.setattr(frames, "_SLOTS", slots)
    before = len(list(Path("/proc/self/fd").iterdir()))

    def there_and_back(number: int) -> bool:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            echo = threading.Thread(target=lambda: send_frame(theirs, {}, [receive_frame(theirs)[1]]))
            echo.start()
            send_frame(ours, {}, [bytes([number]) * LONG])
            answer = receive_frame(ours)[1]
            echo.join()
        return answer == bytes([number]) * LONG

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(there_and_back, range(60)))
    assert len(slots._free) <= KEPT
    assert len(slots._seen) <= KEPT
    assert (
        len(list(Path("/proc/self/fd").iterdir())) <= before + 3 * KEPT
    )  # a slot of our own takes two, one of others one


def test_a_slot_that_nobody_took_is_not_written_again(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = Slots()
    monkeypatch.setattr(frames, "_SLOTS", slots)
    pair[1].close()
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        send_frame(pair[0], {}, [bytes(LONG)])
    assert slots._free == []


def test_memory_that_its_sender_could_take_away_is_refused() -> None:
    unsealed = os.memfd_create("unsealed")
    os.ftruncate(unsealed, LONG)
    with os.fdopen(unsealed, "rb") as memory, tempfile.TemporaryFile() as file:
        file.truncate(LONG)
        for number in (memory.fileno(), file.fileno()):
            with pytest.raises(MessageError, match="take away"):
                Slots().taken(number, LONG)


def test_a_body_that_is_longer_than_its_slot_is_refused() -> None:
    with (
        Slots().filled([bytes(LONG)], LONG) as number,
        pytest.raises(MessageError, match="shorter than it announces"),
    ):
        Slots().taken(number, SLOT_BYTES + 1)
