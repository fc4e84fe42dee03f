"""Memory that two processes of one machine see, used again and again: fresh memory costs twenty times the copying.

Whoever sends writes into a slot of its own, passes the slot's number on, and waits until the other side has taken
what it needs. So a process has no more slots than it sends long bodies at once, however many it is connected to.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from foedus.core.errors import MessageError

SLOT_BYTES = 1 << 24  # of a slot; what is never written takes no memory
KEPT = 4  # slots that wait to be used again, and slots of others that stay in sight

AVAILABLE = hasattr(os, "memfd_create")
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK if AVAILABLE else 0  # no reader can find that it is gone


class _Slot:
    def __init__(self, size: int) -> None:
        self.size = size
        self.number = os.memfd_create("foedus", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.number, size)
        fcntl.fcntl(self.number, fcntl.F_ADD_SEALS, _SEALS)
        self.memory = mmap.mmap(self.number, size)

    def close(self) -> None:
        self.memory.close()
        os.close(self.number)


class Slots:
    """The slots of a process: its own to write, others' to read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[_Slot] = []
        self._seen: OrderedDict[tuple[int, int], mmap.mmap] = OrderedDict()

    @contextmanager
    def filled(self, body: Sequence[bytes | bytearray | memoryview], size: int) -> Iterator[int]:
        """Give the file number of a slot that begins with the body; on leaving, the other side must have taken it."""
        with self._lock:
            fits = next((slot for slot in self._free if slot.size >= size), None)
            if fits is not None:
                self._free.remove(fits)
        slot = fits or _Slot(max(size, SLOT_BYTES))
        try:
            at = 0
            for piece in body:
                slot.memory[at : at + len(piece)] = piece
                at += len(piece)
            yield slot.number
        except BaseException:
            slot.close()  # the other side may read it still
            raise
        with self._lock:
            keeps = len(self._free) < KEPT
            if keeps:
                self._free.append(slot)
        if not keeps:
            slot.close()

    def taken(self, number: int, size: int) -> bytearray:
        """Return a copy of what a slot of another process begins with. number: of the file, as this process has it.

        Raises: MessageError if it is no such slot.
        """
        about = os.fstat(number)
        with self._lock:
            memory = self._seen.get((about.st_dev, about.st_ino))
            if memory is None:
                memory = _seen(number, about.st_size)
                self._seen[about.st_dev, about.st_ino] = memory
                while len(self._seen) > KEPT:
                    self._seen.popitem(last=False)  # it is closed when nobody reads it
            else:
                self._seen.move_to_end((about.st_dev, about.st_ino))
        if size > len(memory):
            raise MessageError("a frame's body is shorter than it announces")
        with memoryview(memory) as view:
            return bytearray(view[:size])


def _seen(number: int, size: int) -> mmap.mmap:
    seals = 0
    with contextlib.suppress(OSError):  # it is no memory
        seals = fcntl.fcntl(number, fcntl.F_GET_SEALS)
    if seals & _SEALS != _SEALS or not size:
        raise MessageError("a frame's body lies in memory that its sender can take away")
    return mmap.mmap(number, size, mmap.MAP_SHARED, mmap.PROT_READ)
