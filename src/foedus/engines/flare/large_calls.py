"""Keeps FLARE's jobs small and quick when large calls pass through them.

FLARE 2.9 has two habits that cost more than carrying does. It writes every call that it gets into a line for its log,
bytes and all, and then throws the line away: thirty milliseconds and four times the memory for each 4 MB. And the
streams that it sends by refer to themselves in circles, so that what they sent stays until Python looks for such
circles, which it does the more seldom the more there is that is not one.

This module imports nvflare, so only what runs in FLARE's jobs imports it.
"""

from __future__ import annotations

import gc
import threading

from nvflare.fuel.utils.buffer_list import ConsumableBufferList

SWEPT_BYTES = 48 << 20  # that may be sent between two looks; one takes up to 20 ms at eight sites


def _short(buffers: ConsumableBufferList) -> str:
    return f"{len(buffers)} buffers"


class LargeCalls:
    """What this process has sent through FLARE; made once, when a job begins."""

    def __init__(self) -> None:
        ConsumableBufferList.__repr__ = _short
        gc.collect()
        gc.freeze()  # what is there now stays; looking it through each time would take longer than carrying
        self._lock = threading.Lock()
        self._sent = 0

    def sent(self, size: int) -> None:
        """Note that so many bytes were sent, and let go now and then of what FLARE keeps of them."""
        with self._lock:
            self._sent += size
            is_due = self._sent >= SWEPT_BYTES
            if is_due:
                self._sent = 0
        if is_due:
            gc.collect()
