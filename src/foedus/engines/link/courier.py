"""Carries letters in pieces over short calls, and gives a participant up that is gone, or gets on no further."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from foedus.core.errors import ConfigError, FoedusError, ForgottenError, MessageError
from foedus.engines.link.frames import Header
from foedus.engines.link.parcel import PIECE_BYTES, SHORT_BYTES, Parcel
from foedus.engines.way import Letter, Silence

if TYPE_CHECKING:  # torch is not for processes that only carry bytes
    from foedus.federation.messages import ParticipantId

WAIT_S = 5.0  # that one call waits for an answer which is not there yet
PING_S = 3.0
PIECES_AT_ONCE = 2  # of one message, so that one who is slow, or gone, leaves room for others
PIECES_UNDER_WAY = 4  # of all messages, whatever the number of participants: each process on the way holds some copies
DOWNLOADS_AT_ONCE = 2  # long answers that are held at once, whatever the number of participants
_MAX_REASON = 500
PATIENCE_S = 90.0  # that a coordinator lets a participant be out of reach, unless told
LEAST_PATIENCE_S = 2 * WAIT_S


class LinkLost(FoedusError):  # noqa: N818 - it says what happened
    """A call did not get through; the same frame can be sent again."""


class Carrier(Protocol):
    """Carries one frame to a participant and its answer back."""

    def call(
        self, name: ParticipantId, header: Header, body: list[memoryview], timeout_s: float
    ) -> tuple[Header, bytearray]:
        """Return the answer's header and body.

        Raises: LinkLost if there is none within the time.
        """
        ...


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    lost: for a participant that calls do not get through to. still: for one that is there and gets on no further.
    least: that any work of a kind is given; the first of its kind has as long as it gets on.
    slack: times the longest work of its kind so far, which later ones are given.
    """

    lost: float = 30.0
    still: float = 120.0
    least: float = 60.0
    slack: float = 5.0
    unhurried: Collection[str] = ("begin", "agree")  # loading a model tells nothing of how far it is


def patience_of(lost_s: float) -> Patience:
    """Return how long to wait for participants of which one may be out of reach so long: all else in proportion.

    Raises: ConfigError if that is shorter than calls take.
    """
    if lost_s < LEAST_PATIENCE_S:
        raise ConfigError(f"--patience is {lost_s:g} s; calls alone take some, so give {LEAST_PATIENCE_S:g} or more")
    return Patience(lost=lost_s, still=lost_s * 10 / 3, least=lost_s * 4 / 3)


@dataclass
class _Measured:
    """The longest work of each kind that was finished, in seconds."""

    longest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def limit(self, kind: str, patience: Patience) -> float:
        """Return the seconds that work of a kind is given."""
        if kind not in self.longest or kind in patience.unhurried:
            return float("inf")
        return max(patience.least, patience.slack * self.longest[kind])


class Courier:
    """The way to participants over a carrier.

    Large answers are fetched a few at a time: the next one only when those who asked are done with one before.
    abandon: ends calls that are under way; it is called when the program is stopped while it waits for answers.
    """

    def __init__(
        self,
        carrier: Carrier,
        patience: Patience | None = None,
        largest_answer: int = 1 << 36,
        *,
        abandon: Callable[[], None] = lambda: None,
    ) -> None:
        self._carrier = carrier
        self._abandon = abandon
        self._patience = patience or Patience()
        self._largest_answer = largest_answer
        self._measured = _Measured()
        self._fetched: dict[ParticipantId, str] = {}
        # the same few threads for all pieces: each keeps memory that it once had
        self._carry = ThreadPoolExecutor(PIECES_UNDER_WAY, thread_name_prefix="foedus-carry")

    def ask(self, letters: Mapping[ParticipantId, Letter]) -> Iterator[tuple[ParticipantId, bytearray | Silence]]:
        """Send all letters at once and yield one answer to each as they come; what is large, a few at a time."""
        answers: queue.SimpleQueue[tuple[ParticipantId, bytearray | Silence, bool]] = queue.SimpleQueue()
        room = threading.Semaphore(DOWNLOADS_AT_ONCE)
        given_up = threading.Event()
        parcels = {id(letter.content): Parcel(letter.content) for letter in letters.values()}

        def deliver(name: ParticipantId, letter: Letter) -> None:
            delivery = _Delivery(self, name, letter, parcels[id(letter.content)], room, given_up)
            try:
                answer: bytearray | Silence = delivery.run()
            except LinkLost as lost:
                answer = Silence(str(lost))
            except Exception as error:  # noqa: BLE001 - whatever goes wrong costs this answer only
                reason = str(error) if isinstance(error, FoedusError) else f"raised {type(error).__name__}"
                answer = Silence(reason, reached=True, forgot=isinstance(error, ForgottenError))
            answers.put((name, answer, delivery.holds_room))

        with ThreadPoolExecutor(max_workers=max(1, len(letters)), thread_name_prefix="foedus-ask") as pool:
            try:
                for name, letter in letters.items():
                    pool.submit(deliver, name, letter)
                for _ in letters:
                    name, answer, holds_room = answers.get()
                    yield name, answer
                    del answer  # it would lie here until the next one is whole
                    if holds_room:
                        room.release()
            except KeyboardInterrupt:
                given_up.set()
                self._abandon()  # or a call to who is silent would hold the program up until its time is over
                raise
            finally:
                given_up.set()
                for _ in letters:
                    room.release()

    def reachable(self, names: Collection[ParticipantId]) -> Collection[ParticipantId]:
        """Return those who answer a short call and are not busy."""

        def is_there(name: ParticipantId) -> bool:
            try:
                return self._carrier.call(name, {"op": "ping"}, [], PING_S)[0].get("state") == "idle"
            except LinkLost:
                return False

        if not names:
            return ()
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            return [name for name, there in zip(names, pool.map(is_there, names), strict=True) if there]


class _Delivery:
    """One letter's way there and its answer's way back."""

    def __init__(  # noqa: PLR0917 - one caller, just above
        self,
        courier: Courier,
        name: ParticipantId,
        letter: Letter,
        parcel: Parcel,
        room: threading.Semaphore,
        given_up: threading.Event,
    ) -> None:
        self._courier, self._patience = courier, courier._patience
        self._name, self._letter, self._parcel = name, letter, parcel
        self._room, self._given_up = room, given_up
        self._number = secrets.token_hex(16)
        self._heard = self._moved = self._began = time.monotonic()
        self._marks = -1
        self.holds_room = False

    def run(self) -> bytearray:
        """Return the whole answer.

        Raises: LinkLost if the participant is given up; MessageError if it says that it failed, or forgot.
        """
        header, body = self._send()
        self._began = time.monotonic()  # work begins when all of the letter is there
        while header.get("state") == "working":
            self._require_progress(header)
            header, body = self._call({"op": "get", "id": self._number, "wait": WAIT_S}, [])
        longest = self._courier._measured.longest
        longest[self._letter.kind] = max(longest[self._letter.kind], time.monotonic() - self._began)
        return self._fetch(header, body)

    def _send(self) -> tuple[Header, bytearray]:
        """Send the letter and return what the participant says when all of it is there."""
        total = self._parcel.size
        drop = [done] if (done := self._courier._fetched.pop(self._name, None)) else []
        about: Header = {
            "id": self._number,
            "run": self._letter.run,
            "kind": self._letter.kind,
            "total": total,
            "drop": drop,
        }

        def put(at: int, wait_s: float) -> tuple[Header, bytearray]:
            piece = self._parcel.cut(at, PIECE_BYTES)
            header, body = self._call({"op": "put", "at": at, "wait": wait_s, **about}, piece)
            if header.get("state") in {"failed", "forgotten"}:
                self._total(header)  # raises the reason
            return header, body

        if total <= SHORT_BYTES:
            return put(0, WAIT_S)
        self._side_by_side(lambda at: put(at, 0), total)
        return self._call({"op": "get", "id": self._number, "wait": WAIT_S}, [])

    def _fetch(self, header: Header, body: bytearray) -> bytearray:
        total = self._total(header)
        if len(body) == total:
            self._courier._fetched[self._name] = self._number
            return body
        if body or total <= SHORT_BYTES:
            raise MessageError("sent an answer whose pieces do not fit together")
        while not self._room.acquire(timeout=1.0):
            if self._given_up.is_set():
                raise LinkLost("nobody waits for its answer any more")
        self.holds_room = True
        whole = bytearray(total)

        def get(at: int) -> None:
            found, piece = self._call({"op": "get", "id": self._number, "from": at}, [])
            if self._total(found) != total or len(piece) != min(PIECE_BYTES, total - at):
                raise MessageError("sent an answer whose pieces do not fit together")
            whole[at : at + len(piece)] = piece

        self._side_by_side(get, total)
        self._courier._fetched[self._name] = self._number
        return whole

    def _total(self, header: Header) -> int:
        match header.get("state"):
            case "done":
                total = header.get("total")
                most = min(self._letter.most, self._courier._largest_answer)
                if type(total) is not int or not 0 < total <= most:
                    raise MessageError(f"announced an answer of {total!r:.40} bytes")
                return total
            case "failed":
                raise MessageError(_printable(str(header.get("reason", "failed"))))
            case "forgotten":
                raise ForgottenError(_printable(str(header.get("reason", "forgot the run"))))
            case "unknown":
                raise ForgottenError("was started again while it worked, so that its answer is lost")
            case _:
                raise MessageError("answered with a frame that makes no sense here")

    def _call(self, header: Header, body: list[memoryview]) -> tuple[Header, bytearray]:
        """Call until it gets through.

        Raises: LinkLost if it does not for too long.
        """
        self._heard = time.monotonic()  # whoever was not asked while others had their turn has missed nothing
        while True:
            try:
                answer = self._carrier_call(header, body)
            except LinkLost:
                if self._given_up.is_set() or time.monotonic() - self._heard > self._patience.lost:
                    raise LinkLost(f"was not to be reached for {self._patience.lost:.0f} s") from None
                time.sleep(0.2)
                continue
            self._heard = time.monotonic()
            return answer

    def _side_by_side(self, do: Callable[[int], object], total: int) -> None:
        """Do something for each piece of so many bytes, a few at once; who else has pieces takes turns with these."""
        under_way: set[Future[object]] = set()
        try:
            for at in range(0, total, PIECE_BYTES):
                if len(under_way) == PIECES_AT_ONCE:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for piece in done:
                        piece.result()
                under_way.add(self._courier._carry.submit(do, at))
            for piece in under_way:
                piece.result()
        finally:
            for piece in under_way:
                piece.cancel()
            wait(under_way)

    def _carrier_call(self, header: Header, body: list[memoryview]) -> tuple[Header, bytearray]:
        return self._courier._carrier.call(self._name, header, body, WAIT_S + self._patience.lost / 2)

    def _require_progress(self, header: Header) -> None:
        """Raises: LinkLost if the participant has worked for too long, or without getting on."""
        now, marks = time.monotonic(), header.get("marks")
        if marks != self._marks:
            self._marks, self._moved = marks, now  # type: ignore[assignment] # it is only compared
        if self._given_up.is_set():
            raise LinkLost("nobody waits for its answer any more")
        limit = self._courier._measured.limit(self._letter.kind, self._patience)
        if now - self._began > limit:
            raise LinkLost(f"did not finish within its deadline of {limit:.0f} s")
        if self._letter.kind not in self._patience.unhurried and now - self._moved > self._patience.still:
            raise LinkLost(f"got on no further for {self._patience.still:.0f} s")


def _printable(reason: str) -> str:
    return "".join(c if c.isprintable() else " " for c in reason[:_MAX_REASON])
