"""A long message that is sent in pieces, without being put together first."""

from __future__ import annotations

from collections.abc import Sequence

PIECE_BYTES = 12 << 20  # FLARE copies what is shorter than 10 MiB twice more at either end
SHORT_BYTES = 1 << 18  # a message that needs no pieces: it travels in the call that waits for the answer


class Parcel:
    """Bytes that lie in several places, in order."""

    def __init__(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        self._pieces = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        self.size = sum(len(piece) for piece in self._pieces)

    def cut(self, start: int, size: int) -> list[memoryview]:
        """Return at most so many bytes from a place on, as views."""
        views, at = [], 0
        for piece in self._pieces:
            begin, end = max(start - at, 0), min(start + size - at, len(piece))
            if begin < end:
                views.append(piece[begin:end])
            at += len(piece)
        return views
