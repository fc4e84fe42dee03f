"""A participant's end of the link: takes messages in pieces, works on them one by one, keeps answers until fetched.

Every message has a number that its sender chose, so that a piece which is sent twice, because the link broke, does
no harm: the work is done once, and its answer can be fetched again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from foedus.core.errors import FoedusError, ForgottenError, MessageError
from foedus.engines.link.frames import Header
from foedus.engines.link.parcel import PIECE_BYTES, SHORT_BYTES, Parcel

# From a run's id, a message's kind and its bytes to the pieces of the answer; `mark` notes that work gets on.
Work = Callable[[str, str, bytearray, Callable[[], None]], Sequence[bytes | bytearray | memoryview]]

MAX_MESSAGES = 8  # that one sender may keep here at once: those it gave up are among them
MAX_WAIT_S = 30.0


@dataclass
class _Message:
    run: str
    kind: str
    data: bytearray
    pieces: set[int] = field(default_factory=set)
    have: int = 0
    is_whole: bool = False
    marks: int = 0
    answer: Parcel | None = None
    failure: str | None = None
    is_forgotten: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class Mailbox:
    """Answers frames; works in a thread of its own, from `start` to `stop`.

    largest: the most bytes that one message may have.
    """

    def __init__(self, work: Work, largest: int) -> None:
        self._work = work
        self._largest = largest
        self._messages: OrderedDict[str, _Message] = OrderedDict()
        self._waiting: deque[_Message] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._busy = False
        self._thread = threading.Thread(target=self._loop, name="foedus-mailbox", daemon=True)
        self.last_heard: float | None = None

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more; what is being done is finished by whoever does it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def handle(self, header: Header, body: bytearray) -> tuple[Header, list[memoryview]]:
        """Return the answer to one frame. What is wrong with it is said in the answer."""
        self.last_heard = time.monotonic()
        try:
            match header.get("op"):
                case "ping":
                    return {"state": "busy" if self._busy else "idle"}, []
                case "put":
                    message = self._put(header, body)
                    return self._get(message, header) if message.is_whole else ({"state": "receiving"}, [])
                case "get":
                    found = self._messages.get(_text(header, "id"))
                    return ({"state": "unknown"}, []) if found is None else self._get(found, header)
                case _:
                    raise MessageError("a frame asks for nothing that this version knows")
        except FoedusError as error:
            return {"state": "failed", "reason": str(error)}, []
        except (TypeError, ValueError):
            return {"state": "failed", "reason": "a frame holds values that make no sense"}, []

    def _put(self, header: Header, body: bytearray) -> _Message:
        number, total, at = _text(header, "id"), _whole(header, "total"), _whole(header, "at")
        if total > self._largest:
            raise MessageError(f"a message has {total} bytes; this participant takes at most {self._largest}")
        with self._changed:
            for old in header.get("drop", ()):
                self._drop(str(old))
            if number not in self._messages:
                if len(self._messages) >= MAX_MESSAGES:
                    self._drop(next(iter(self._messages)))
                data = bytearray(total)
                self._messages[number] = _Message(_text(header, "run"), _text(header, "kind"), data)
            message = self._messages[number]
            if message.is_whole:
                return message
            if len(message.data) != total or at % PIECE_BYTES or len(body) != min(PIECE_BYTES, total - at) or not body:
                raise MessageError("a piece of a message does not fit what came before")
            if at in message.pieces:
                return message
            message.data[at : at + len(body)] = body
            message.pieces.add(at)
            message.have += len(body)
            message.marks += 1
            if message.have == total:
                message.is_whole = True
                self._waiting.append(message)
                self._changed.notify_all()
            return message

    def _drop(self, number: str) -> None:
        message = self._messages.pop(number, None)
        if message is not None and message in self._waiting:
            self._waiting.remove(message)

    def _get(self, message: _Message, header: Header) -> tuple[Header, list[memoryview]]:
        message.done.wait(min(float(header.get("wait", 0)), MAX_WAIT_S))
        if not message.done.is_set():
            return {"state": "working", "marks": message.marks}, []
        if message.failure is not None:
            return {"state": "forgotten" if message.is_forgotten else "failed", "reason": message.failure}, []
        assert message.answer is not None, "what is done has an answer or a failure"
        done = {"state": "done", "total": message.answer.size}
        if "from" not in header and message.answer.size > SHORT_BYTES:
            return done, []  # who asked fetches it when there is room for all of it
        return done, message.answer.cut(_whole(header, "from") if "from" in header else 0, PIECE_BYTES)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                message = self._waiting.popleft()
                self._busy = True
                data, message.data = message.data, bytearray()  # it is not needed again

            def mark(message: _Message = message) -> None:
                message.marks += 1

            try:
                message.answer = Parcel(self._work(message.run, message.kind, data, mark))
            except Exception as error:  # noqa: BLE001 - whatever goes wrong costs this answer only
                message.failure = str(error) if isinstance(error, FoedusError) else f"raised {type(error).__name__}"
                message.is_forgotten = isinstance(error, ForgottenError)
            self._busy = False
            message.done.set()


def _text(header: Header, key: str) -> str:
    value = header.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise MessageError(f"a frame's {key} is no short text")
    return value


def _whole(header: Header, key: str) -> int:
    value = header.get(key)
    if type(value) is not int or value < 0:
        raise MessageError(f"a frame's {key} is no whole number")
    return value
