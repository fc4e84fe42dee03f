"""The append-only log of a run: one signed statement a line, and a Merkle tree over the lines.

A leaf is the line's bytes without its end, so no byte of the file can change without changing the
root. Participants keep the newest head that they saw; a log that forgets or changes an entry cannot
show that it begins with it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.merkle import MerkleTree, check_consistency, check_inclusion, leaf_hash
from foedus.privacy.signing.statements import Count, Hash, Head, RunId, Signed, read, sign, written


class Log:
    """A log file that is written to; another process must not write to it at the same time."""

    def __init__(self, path: Path) -> None:
        """Open the log, or begin one; a line that a crash cut short is dropped.

        Raises: SignatureError if it cannot be read, or holds something else.
        """
        self.path = path
        content = _content(path) if path.exists() else b""
        *self._lines, rest = content.split(b"\n")
        if rest:
            _truncate(path, len(content) - len(rest))
        self.entries: list[Signed] = [read_entry(line, index) for index, line in enumerate(self._lines)]
        self.tree = MerkleTree(leaf_hash(line) for line in self._lines)

    def __len__(self) -> int:
        return len(self.tree)

    def append(self, entry: Signed) -> int:
        """Add an entry, wait until the disk has it, and return its index."""
        return self.extend([entry])

    def extend(self, entries: Sequence[Signed]) -> int:
        """Add entries, wait until the disk has them, and return the first one's index."""
        first, lines = len(self), [written(entry) for entry in entries]
        try:
            with self.path.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SignatureError(f"the log {self.path} cannot be written: {error.strerror}") from error
        for line, entry in zip(lines, entries, strict=True):
            self._lines.append(line)
            self.entries.append(entry)
            self.tree.add(leaf_hash(line))
        return first

    def forget_after(self, size: int, root: str) -> None:
        """Forget all but the first `size` entries: of rounds that will be played again.

        Raises: SignatureError if there are fewer, or they are not those with this root.
        """
        if len(self) < size or self.tree.root(size).hex() != root:
            raise SignatureError(
                f"{self.path} does not begin with the {size} entries of the last checkpoint: it is missing or was "
                "changed; put it back, or start the run anew with --overwrite"
            )
        del self._lines[size:], self.entries[size:]
        self.tree = MerkleTree(leaf_hash(line) for line in self._lines)
        if self.path.exists():
            _truncate(self.path, sum(len(line) + 1 for line in self._lines))


def read_log(path: Path) -> tuple[Sequence[Signed], MerkleTree]:
    """Return a finished log's entries and the tree over them. Signatures are not checked here.

    Raises: SignatureError if it is missing, damaged, or its last line is cut short.
    """
    return parse_log(_content(path), str(path))


def parse_log(content: bytes, what: str) -> tuple[Sequence[Signed], MerkleTree]:
    """Return the entries in a log's bytes and the tree over them.

    what: what is being read, for the message.
    Raises: SignatureError as read_log.
    """
    *lines, rest = content.split(b"\n")
    if rest:
        raise SignatureError(f"the last line of {what} is cut short: entry {len(lines)} is not whole")
    entries = [read_entry(line, index) for index, line in enumerate(lines)]
    return entries, MerkleTree(leaf_hash(line) for line in lines)


def read_entry(line: bytes, index: int) -> Signed:
    """Return what a line of a log says; its signature is not checked.

    Raises: SignatureError unless it is exactly how an entry is written.
    """
    return read(Signed, line, f"entry {index} of the log")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SignatureError(f"the log {path} cannot be read: {error.strerror}") from error


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


class Receipt(BaseModel):
    """What shows a participant that its entry is in the log, and that nothing it saw before is gone.

    head: signed by the coordinator. path: from the entry to the head's root. since: the size of the log
    whose head the participant saw last. extension: that the log begins with that one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    head: Signed
    index: Count
    path: list[Hash]
    since: Count
    extension: list[Hash]


def signed_head(log: Log, run: str, coordinator: Identity, signer: str) -> Signed:
    """Return the log's size and root with the coordinator's signature."""
    return sign(Head(run=run, size=len(log), root=log.tree.root().hex()), coordinator, signer)


def receipt(log: Log, head: Signed, index: int, since: int = 0) -> Receipt:
    """Return the receipt for an entry under a head of this log.

    since: the size of the log that the participant saw last.
    Raises: ValueError if the head's log does not hold the entry, or is shorter than `since`.
    """
    size = _head(head).size
    path, extension = log.tree.inclusion(index, size), log.tree.consistency(since, size)
    return Receipt(
        head=head, index=index, path=[h.hex() for h in path], since=since, extension=[h.hex() for h in extension]
    )


@dataclass(frozen=True)
class Witness:
    """What a participant remembers of a run's log: the newest head that it has checked.

    One that is given two heads which do not extend each other holds the proof that the coordinator
    showed different logs: both are signed.
    """

    run: RunId
    coordinator: PublicKey
    size: int = 0
    root: str = MerkleTree().root().hex()

    def accept(self, entry: Signed, given: Receipt) -> Witness:
        """Return what it remembers after a receipt for its entry.

        Raises: SignatureError if the head is not the coordinator's, the entry is not in the log, or the
            log does not begin with the one seen before.
        """
        head = _head(given.head)
        given.head.check(self.coordinator)
        if head.run != self.run:
            raise SignatureError(f"a receipt for run {self.run} has a head of run {head.run}; ask for the right one")
        if given.since != self.size:
            raise SignatureError(
                f"a receipt starts from a log of {given.since} entries; this participant saw {self.size}"
            )
        root, extension = bytes.fromhex(head.root), [bytes.fromhex(text) for text in given.extension]
        check_consistency(self.size, bytes.fromhex(self.root), head.size, root, extension)
        path = [bytes.fromhex(text) for text in given.path]
        check_inclusion(leaf_hash(written(entry)), given.index, head.size, path, root)
        return Witness(self.run, self.coordinator, head.size, head.root)


def _head(signed: Signed) -> Head:
    if not isinstance(signed.statement, Head):
        raise SignatureError(f"a receipt holds a statement of kind {signed.statement.kind} in place of a head")
    return signed.statement
