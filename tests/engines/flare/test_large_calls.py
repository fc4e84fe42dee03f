"""What FLARE does with large calls that costs more than carrying them, and that its jobs do without."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from foedus.engines.flare.large_calls import SWEPT_BYTES, LargeCalls


@pytest.fixture
def calls() -> Iterator[LargeCalls]:
    yield LargeCalls()
    gc.unfreeze()


class Stream:
    """Refers to itself, as FLARE's do."""

    def __init__(self) -> None:
        self.task = self


def test_what_was_sent_is_let_go_of_once_enough_was(calls: LargeCalls) -> None:
    gc.disable()
    try:
        stream = weakref.ref(Stream())
        calls.sent(SWEPT_BYTES - 1)
        assert stream() is not None
        calls.sent(1)
        assert stream() is None
    finally:
        gc.enable()


def test_flare_finds_no_bytes_to_write_into_its_log(calls: LargeCalls) -> None:
    from nvflare.fuel.utils.buffer_list import ConsumableBufferList

    assert f"{ConsumableBufferList([bytearray(1 << 20)])}" == "1 buffers"
