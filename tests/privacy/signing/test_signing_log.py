from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.log import Log, Receipt, Witness, parse_log, read_log, receipt, signed_head
from foedus.privacy.signing.merkle import MerkleTree, leaf_hash
from foedus.privacy.signing.statements import Requested, Signed, Updated, sign, written

RUN, OTHER_RUN = "ab" * 16, "cd" * 16
COORDINATOR, NORTH = Identity.from_seed(b"c" * 32), Identity.from_seed(b"n" * 32)


def update(number: int, digest: str = "0" * 64) -> Signed:
    stated = Updated(run=RUN, round=number, participant="north", request="1" * 64, update=digest)
    return sign(stated, NORTH, "north")


def log_of(path: Path, count: int) -> Log:
    log = Log(path)
    log.extend([update(number) for number in range(len(log), count)])
    return log


def head(log: Log, run: str = RUN, coordinator: Identity = COORDINATOR) -> Signed:
    return signed_head(log, run, coordinator, "coordinator")


def test_what_is_appended_is_read_back_with_the_same_root(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log.jsonl", 5)
    assert log.append(update(5)) == 5
    entries, tree = read_log(log.path)
    assert entries == [update(number) for number in range(6)]
    assert tree.root() == log.tree.root() == Log(log.path).tree.root()
    assert tree.root() == MerkleTree(leaf_hash(written(entry)) for entry in entries).root()


def test_a_torn_last_line_is_dropped_on_going_on_and_refused_in_a_finished_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    whole = log_of(path, 3).tree.root(2)
    content = path.read_bytes()
    for cut in range(1, len(written(update(2))) + 1, 7):
        path.write_bytes(content[:-cut])
        with pytest.raises(SignatureError, match="cut short: entry 2 is not whole"):
            read_log(path)
        assert Log(path).tree.root() == whole
        assert path.read_bytes() == content[: -len(written(update(2))) - 1]
    log_of(path, 3)
    assert path.read_bytes() == content


def test_no_byte_of_a_log_can_change_and_leave_its_root(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    root, content = log_of(path, 3).tree.root(), path.read_bytes()
    for place in range(len(content)):
        before, after = content[:place], content[place + 1 :]
        for changed in (b"", bytes([content[place] ^ 1]), bytes([content[place] ^ 0x20])):  # the last: capitals
            try:
                assert parse_log(before + changed + after, "it")[1].root() != root
            except SignatureError:
                continue


@pytest.mark.parametrize("spelling", [b" ", b"\t"])
def test_another_spelling_of_an_entry_is_refused(tmp_path: Path, spelling: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(written(update(0)).replace(b",", b"," + spelling) + b"\n")
    with pytest.raises(SignatureError, match="not written in the one way"):
        read_log(path)


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(written(update(0)).replace(b'"round":0', b'"round":1,"round":0') + b"\n")
    with pytest.raises(SignatureError, match="not written in the one way"):
        read_log(path)


def test_a_resumed_log_forgets_the_rounds_that_are_played_again(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log.jsonl", 5)
    size, root = 3, log.tree.root(3).hex()
    resumed = Log(log.path)
    resumed.forget_after(size, root)
    assert len(resumed) == len(resumed.entries) == 3
    assert log_of(log.path, 5).tree.root() == log.tree.root()
    for wrong in ((6, root), (3, "0" * 64), (2, root)):
        with pytest.raises(SignatureError, match="does not begin with"):
            Log(log.path).forget_after(*wrong)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_a_participant_accepts_a_receipt_for_every_entry_of_a_log_that_grows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    log, witness = Log(tmp_path_factory.mktemp("log") / "log.jsonl"), Witness(RUN, COORDINATOR.public)
    for step in steps:
        log_of(log.path, 0)
        first = log.extend([update(len(log) + number) for number in range(step)])
        for index in range(first, len(log)):
            witness = witness.accept(log.entries[index], receipt(log, head(log), index, witness.size))
    assert (witness.size, witness.root) == (len(log), log.tree.root().hex())


def test_a_receipt_for_another_entry_run_or_coordinator_is_refused(tmp_path: Path) -> None:
    log, witness = log_of(tmp_path / "log.jsonl", 4), Witness(RUN, COORDINATOR.public)
    witness.accept(update(2), receipt(log, head(log), 2))
    with pytest.raises(SignatureError, match="does not lead to"):
        witness.accept(update(2, "f" * 64), receipt(log, head(log), 2))
    with pytest.raises(SignatureError, match="does not lead to"):
        witness.accept(update(2), receipt(log, head(log), 1))
    with pytest.raises(SignatureError, match="head of run"):
        witness.accept(update(2), receipt(log, head(log, OTHER_RUN), 2))
    with pytest.raises(SignatureError, match="does not fit its head statement"):
        witness.accept(update(2), receipt(log, head(log, coordinator=NORTH), 2))
    request = sign(Requested(run=RUN, round=0, purpose="update", requests=["0" * 64]), COORDINATOR, "coordinator")
    with pytest.raises(SignatureError, match="kind request in place of a head"):
        witness.accept(update(2), Receipt(head=request, index=2, path=[], since=0, extension=[]))


def test_a_log_that_forgot_or_changed_an_entry_is_found_by_who_saw_it(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log.jsonl", 4)
    witness = Witness(RUN, COORDINATOR.public).accept(update(3), receipt(log, head(log), 3))
    rewritten = Log(tmp_path / "rewritten.jsonl")
    rewritten.extend([update(0), update(1, "f" * 64), update(2), update(3), update(4)])
    with pytest.raises(SignatureError, match="was not shown to begin with the log of 4"):
        witness.accept(update(4), receipt(rewritten, head(rewritten), 4, since=4))
    shorter = log_of(tmp_path / "shorter.jsonl", 3)
    with pytest.raises(SignatureError, match="starts from a log of 0"):
        witness.accept(update(2), receipt(shorter, head(shorter), 2))
    with pytest.raises(SignatureError, match="starts from a log of 0"):
        witness.accept(update(3), receipt(log, head(log), 3))


def test_a_log_that_cannot_be_written_or_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="cannot be written"):
        Log(tmp_path / "no folder" / "log.jsonl").append(update(0))
    with pytest.raises(SignatureError, match="cannot be read"):
        read_log(tmp_path / "none.jsonl")
