"""Keeps FLARE's jobs small and quick when large calls pass through them.

FLARE 2.9 has two habits that cost more than carrying does. It writes every call that it gets into a line for its log,
bytes and all, and then throws the line away: thirty milliseconds and four times the memory for each 4 MB. And its
streams refer to themselves in circles, so that what they carried stays until Python looks for such circles, which it
does the more seldom the more there is that is not one.

This module imports nvflare, so only what runs in FLARE's jobs imports it.
"""

from __future__ import annotations

import gc
import threading

from nvflare.fuel.utils.buffer_list import ConsumableBufferList

SWEPT_BYTES = 1 << 25  # that may pass between two looks


def _short(buffers: ConsumableBufferList) -> str:
    return f"{len(buffers)} buffers"


class LargeCalls:
    """What has passed through this process; made once, when a job begins."""

    def __init__(self) -> None:
        ConsumableBufferList.__repr__ = _short
        gc.collect()
        gc.freeze()  # what is there now stays; looking it through each time would take longer than carrying
        self._lock = threading.Lock()
        self._passed = 0

    def passed(self, size: int) -> None:
        """Note that so many bytes have passed, and let go now and then of what FLARE keeps of them."""
        with self._lock:
            self._passed += size
            is_due = self._passed >= SWEPT_BYTES
            if is_due:
                self._passed = 0
        if is_due:
            gc.collect()
