"""Messages in pieces over short calls: each is done once, however often its pieces come."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import ConfigError, LinkError
from foedus.engines.link import courier, mailbox
from foedus.engines.link.courier import PATIENCE_S, PIECES_UNDER_WAY, Courier, LinkLost, Patience, patience_of
from foedus.engines.link.frames import Header, receive_frame, send_frame
from foedus.engines.link.mailbox import Mailbox
from foedus.engines.link.parcel import Parcel
from foedus.engines.link.sockets import Door, Hub, door_path, listen
from foedus.engines.way import Letter, Silence

PIECE_BYTES, SHORT_BYTES = 1 << 16, 1 << 12
QUICK = Patience(lost=2, still=30, least=30)


@pytest.fixture(scope="module", autouse=True)
def short_pieces() -> Iterator[None]:
    """Pieces of 64 kB, which a test has soon carried."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (courier, mailbox):
            patch.setattr(module, "PIECE_BYTES", PIECE_BYTES)
            patch.setattr(module, "SHORT_BYTES", SHORT_BYTES)
        yield


def backwards(run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> Sequence[bytes]:
    return [bytes(reversed(data)), kind.encode()]


def started(work: Callable[..., Sequence[bytes]] = backwards, largest: int = 1 << 30) -> Mailbox:
    mailbox = Mailbox(work, largest)
    mailbox.start()
    return mailbox


class Shaky:
    """A carrier whose calls come through twice, or whose answers get lost, in turn."""

    def __init__(self, mailbox: Mailbox, pattern: Sequence[str]) -> None:
        self._mailbox = mailbox
        self._pattern = list(pattern)
        self._lock = threading.Lock()

    def call(self, name: str, header: Header, body: list[memoryview], timeout_s: float) -> tuple[Header, bytearray]:
        with self._lock:
            what = self._pattern.pop(0) if self._pattern else "fine"
        if what == "lost there":
            raise LinkLost("is not connected")
        answer, content = self._mailbox.handle(header, bytearray(b"".join(body)))
        if what == "twice":
            answer, content = self._mailbox.handle(header, bytearray(b"".join(body)))
        if what == "lost back":
            raise LinkLost("its connection broke")
        return answer, bytearray(b"".join(content))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["fine", "twice", "lost there", "lost back"]), max_size=6), st.integers(1, 3))
def test_a_letter_is_answered_whole_and_its_work_done_once_whatever_gets_lost(pattern: list[str], pieces: int) -> None:
    done: list[int] = []

    def work(run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> Sequence[bytes]:
        done.append(len(data))
        return backwards(run, kind, data, mark)

    content = bytes(range(256)) * ((pieces - 1) * PIECE_BYTES // 256) + b"rest"
    way = Courier(Shaky(started(work), pattern), QUICK)
    [(name, answer)] = way.ask({"a": Letter("r", "train", [content[:1000], content[1000:]])})
    assert name == "a"
    assert answer == bytearray(reversed(content)) + b"train"
    assert done == [len(content)]


def test_who_was_started_again_over_its_work_is_said_to_have_forgotten_it() -> None:
    begun, released = threading.Event(), threading.Event()

    def work(run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> Sequence[bytes]:
        begun.set()
        released.wait(30)
        return [b"late"]

    carrier = Shaky(started(work), [])

    def restart() -> None:
        begun.wait(30)
        carrier._mailbox = started()

    restarting = threading.Thread(target=restart)
    restarting.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foedus.engines.link.courier.WAIT_S", 0.05)
        [(_, answer)] = Courier(carrier, QUICK).ask({"a": Letter("r", "train", [b"x"])})
    restarting.join()
    released.set()
    assert answer == Silence("was started again while it worked, so that its answer is lost", reached=True, forgot=True)


def test_how_long_is_waited_for_follows_from_one_number() -> None:
    assert patience_of(PATIENCE_S) == Patience(lost=90, still=300, least=120)
    with pytest.raises(ConfigError, match="give 10 or more"):
        patience_of(9)


def test_a_parcel_is_cut_without_being_put_together() -> None:
    parcel = Parcel([b"abc", b"", bytearray(b"defg"), b"h"])
    assert parcel.size == 8
    assert [b"".join(parcel.cut(at, 3)) for at in (0, 3, 6, 9)] == [b"abc", b"def", b"gh", b""]


@pytest.mark.parametrize(
    "changes",
    [
        {"total": -1},
        {"total": "9"},
        {"total": 1 << 40},
        {"at": 5},
        {"at": -PIECE_BYTES},
        {"at": True},
        {"id": ""},
        {"id": "x" * 201},
        {"run": None},
        {"op": "pickle"},
        {"op": None},
        {"wait": "long", "total": 4},
        {"drop": 7},
    ],
    ids=str,
)
def test_a_frame_that_makes_no_sense_is_answered_by_a_reason(changes: dict[str, object]) -> None:
    mailbox = started(largest=1 << 20)
    header = {"op": "put", "id": "1", "run": "r", "kind": "train", "at": 0, "total": 4, **changes}
    answer, content = mailbox.handle(header, bytearray(b"abcd"))
    assert answer["state"] == "failed"
    assert content == []


def test_a_mailbox_keeps_no_more_messages_than_it_says() -> None:
    mailbox = started()
    for number in range(50):
        mailbox.handle(
            {"op": "put", "id": str(number), "run": "r", "kind": "k", "at": 0, "total": 2 * PIECE_BYTES},
            bytearray(PIECE_BYTES),
        )
    assert mailbox.handle({"op": "get", "id": "0"}, bytearray())[0] == {"state": "unknown"}
    assert len(mailbox._messages) <= 8


def test_an_error_of_the_work_is_that_answers_only() -> None:
    def work(run: str, kind: str, data: bytearray, mark: Callable[[], None]) -> Sequence[bytes]:
        if kind == "bad":
            raise KeyError("patient Müller")
        return [b"fine"]

    way = Courier(Shaky(started(work), []), QUICK)
    [(_, bad)] = way.ask({"a": Letter("r", "bad", [b"x"])})
    assert bad == Silence("raised KeyError", reached=True)
    assert list(way.ask({"a": Letter("r", "good", [b"x"])})) == [("a", bytearray(b"fine"))]


class Lying:
    """A participant that answers with frames of its own making."""

    def __init__(self, *answers: tuple[Header, bytes]) -> None:
        self._answers = list(answers)

    def call(self, name: str, header: Header, body: list[memoryview], timeout_s: float) -> tuple[Header, bytearray]:
        answer, content = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer, bytearray(content)


@pytest.mark.parametrize(
    ("header", "content"),
    [
        ({"state": "done", "total": 1 << 62}, b"x"),
        ({"state": "done", "total": -1}, b""),
        ({"state": "done", "total": "1"}, b"x"),
        ({"state": "done"}, b"x"),
        ({"state": "done", "total": 5}, b"too long a piece"),
        ({"state": "done", "total": 3 * PIECE_BYTES}, b"short"),
        ({"state": "nonsense"}, b""),
        ({}, b""),
        ({"state": "unknown"}, b""),
        ({"state": "failed", "reason": "\x1b[2J" + "x" * 10_000}, b""),
    ],
    ids=str,
)
def test_a_participant_that_lies_costs_its_own_answer_only(header: Header, content: bytes) -> None:
    [(_, answer)] = Courier(Lying((header, content)), QUICK, largest_answer=1 << 30).ask(
        {"a": Letter("r", "train", [b"x"])}
    )
    assert isinstance(answer, Silence)
    assert answer.reached
    assert answer.reason.isprintable()
    assert len(answer.reason) <= 500


def test_a_hub_and_a_door_carry_frames_between_processes() -> None:
    with TemporaryDirectory(prefix="foedus-") as folder:
        door = Door(door_path(Path(folder), "a"), started())
        hub = Hub(Path(folder) / "hub.sock")
        assert list(hub.connected()) == []
        with pytest.raises(LinkLost, match="not connected"):
            hub.call("a", {"op": "ping"}, [], 0.1)
        assert [oct(path.stat().st_mode & 0o777) for path in Path(folder).iterdir()] == ["0o600", "0o600"]
        door.close()
        hub.close()


def test_a_hub_tells_whom_lanes_lead_to_and_who_answers_nothing() -> None:
    with TemporaryDirectory(prefix="foedus-") as folder:
        hub = Hub(Path(folder) / "hub.sock")
        with socket.socket(socket.AF_UNIX) as lane:
            lane.connect(str(Path(folder) / "hub.sock"))
            send_frame(lane, {"site": "a"})
            answers: list[dict[str, object]] = [{"header": None, "error": "timeout"}, {"header": {"state": "idle"}}]

            def pass_on() -> None:
                for answer in answers:
                    receive_frame(lane)
                    send_frame(lane, answer)

            thread = threading.Thread(target=pass_on)
            thread.start()
            with pytest.raises(LinkLost, match="did not get through"):
                hub.call("a", {"op": "ping"}, [], 5)
            time.sleep(0.01)
            assert (list(hub.connected()), hub.silent(0), hub.silent(60)) == (["a"], {"a"}, set())
            assert hub.call("a", {"op": "ping"}, [], 5)[0] == {"state": "idle"}
            thread.join()
            assert (list(hub.connected()), hub.silent(0)) == (["a"], set())
        hub.close()


def test_a_socket_with_too_long_a_path_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="choose a folder with a shorter one"):
        listen(tmp_path / ("x" * 120))


def test_nothing_is_set_aside_for_an_answer_longer_than_was_asked_for() -> None:
    way = Courier(Lying(({"state": "done", "total": 11}, b"x" * 11)), QUICK)
    [(_, answer)] = way.ask({"a": Letter("r", "train", [b"x"], most=10)})
    assert answer == Silence("announced an answer of 11 bytes", reached=True)
    assert list(way.ask({"a": Letter("r", "train", [b"x"], most=11)})) == [("a", bytearray(b"x" * 11))]


class Counted:
    """A carrier to mailboxes that counts the calls under way which carry pieces. lost: calls that fail first."""

    def __init__(self, mailboxes: Mapping[str, Mailbox]) -> None:
        self._mailboxes = mailboxes
        self._lock = threading.Lock()
        self._under_way = self.most = 0
        self.lost: set[str] = set()

    def call(self, name: str, header: Header, body: list[memoryview], timeout_s: float) -> tuple[Header, bytearray]:
        with self._lock:
            if name in self.lost:
                self.lost.remove(name)
                raise LinkLost("its connection broke")
            carries = bool(body) or "from" in header
            self._under_way += carries
            self.most = max(self.most, self._under_way)
        time.sleep(0.005 * carries)
        answer, content = self._mailboxes[name].handle(header, bytearray(b"".join(body)))
        with self._lock:
            self._under_way -= carries
        return answer, bytearray(b"".join(content))


@pytest.mark.parametrize("size", [2 * PIECE_BYTES + 1, SHORT_BYTES + 1], ids=["long", "of one piece"])
def test_few_pieces_are_under_way_at_once_however_many_take_part(size: int) -> None:
    carrier = Counted({str(number): started() for number in range(6)})
    letter = Letter("r", "train", [bytes(size)])
    for _, answer in Courier(carrier, QUICK).ask(dict.fromkeys(carrier._mailboxes, letter)):
        assert not isinstance(answer, Silence)
    assert 1 < carrier.most <= PIECES_UNDER_WAY


def test_one_participant_whose_pieces_get_stuck_leaves_room_for_others() -> None:
    carrier, goes_on = Counted({"stuck": started(), "quick": started()}), threading.Event()
    call = carrier.call

    def stuck(name: str, header: Header, body: list[memoryview], timeout_s: float) -> tuple[Header, bytearray]:
        if name == "stuck" and body:
            goes_on.wait(30)
        return call(name, header, body, timeout_s)

    carrier.call = stuck  # type: ignore[method-assign]
    letter = Letter("r", "train", [bytes(4 * PIECE_BYTES)])
    came = []
    for name, answer in Courier(carrier, QUICK).ask({"stuck": letter, "quick": letter}):
        goes_on.set()
        came.append((name, isinstance(answer, Silence)))
    assert came == [("quick", False), ("stuck", False)]


def test_whoever_waits_for_a_turn_holds_no_piece_and_has_missed_no_deadline() -> None:
    carrier = Counted({name: started() for name in ("a", "b", "c", "d")})
    way = Courier(carrier, Patience(lost=0.5, still=30, least=30))
    got: list[bool] = []
    for name, answer in way.ask(dict.fromkeys(carrier._mailboxes, Letter("r", "train", [bytes(PIECE_BYTES)]))):
        if not got:
            time.sleep(1.5)  # longer than whoever is gone is waited for
            carrier.lost = {"a", "b", "c", "d"} - {name}  # and then one call fails, as on any network
        got.append(isinstance(answer, Silence))
    assert got == [False] * 4
    mailbox = started()
    mailbox.handle(
        {"op": "put", "id": "1", "run": "r", "kind": "k", "at": 0, "total": PIECE_BYTES, "wait": 9},
        bytearray(PIECE_BYTES),
    )
    header, content = mailbox.handle({"op": "get", "id": "1"}, bytearray())
    assert (header["state"], content) == ("done", [])


def test_a_program_that_is_stopped_does_not_wait_for_who_is_silent() -> None:
    with TemporaryDirectory(prefix="foedus-") as folder:
        hub = Hub(Path(folder) / "hub.sock")
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(Path(folder) / "hub.sock"))
            send_frame(silent, {"site": "north"})
            while not hub.connected():
                time.sleep(0.01)
            way = Courier(hub, Patience(lost=120), abandon=hub.close)
            began = time.monotonic()
            threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
            with pytest.raises(KeyboardInterrupt):
                list(way.ask({"north": Letter("run", "train", [b"please"], 1 << 20)}))
            assert time.monotonic() - began < 20
        hub.close()
