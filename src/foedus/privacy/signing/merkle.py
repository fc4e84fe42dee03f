"""Merkle trees over a growing list: short proofs that something is in it, and that it was only added to.

Hashes and proofs are those of RFC 6962, section 2.1: SHA-256, with 0x00 before a leaf and 0x01
before two nodes, so that no leaf can be taken for a node. RFC 9162 has the checks of proofs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from foedus.core.errors import SignatureError

Proof = Sequence[bytes]
LEAF, NODE = b"\x00", b"\x01"
EMPTY_ROOT = hashlib.sha256().digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash that stands for an entry."""
    return hashlib.sha256(LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two neighbours."""
    return hashlib.sha256(NODE + left + right).digest()


class MerkleTree:
    """The hashes of a list of entries, which can only grow; adding one and proving one take O(log n) hashes."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]  # of whole subtrees: level k has one hash for every 2^k leaves
        for leaf in leaves:
            self.add(leaf)

    def __len__(self) -> int:
        return len(self._levels[0])

    def add(self, leaf: bytes) -> None:
        """Add the hash of one more entry."""
        height = 0
        self._levels[0].append(leaf)
        while len(self._levels[height]) % 2 == 0:
            if height + 1 == len(self._levels):
                self._levels.append([])
            left, right = self._levels[height][-2:]
            height += 1
            self._levels[height].append(node_hash(left, right))

    def leaf(self, index: int) -> bytes:
        """Return the hash of an entry."""
        return self._levels[0][index]

    def root(self, size: int | None = None) -> bytes:
        """Return the hash over the first `size` entries, or over all."""
        return self._over(0, self._whole(size)) if self._whole(size) else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> Proof:
        """Return the proof that entry `index` is among the first `size`.

        Raises: ValueError if it is not.
        """
        size = self._whole(size)
        if not 0 <= index < size:
            raise ValueError(f"entry {index} is not among the first {size}")
        return self._path(index, 0, size)

    def consistency(self, old_size: int, size: int | None = None) -> Proof:
        """Return the proof that the first `size` entries begin with what were the first `old_size`.

        Raises: ValueError unless 0 <= old_size <= size.
        """
        size = self._whole(size)
        if not 0 <= old_size <= size:
            raise ValueError(f"a list of {size} entries does not begin with {old_size}")
        return self._extension(old_size, 0, size, known=True) if 0 < old_size < size else []

    def _whole(self, size: int | None) -> int:
        if size is None:
            return len(self)
        if not 0 <= size <= len(self):
            raise ValueError(f"the list has {len(self)} entries, not {size}")
        return size

    def _over(self, begin: int, end: int) -> bytes:
        """Return the hash over the entries begin … end - 1, a subtree of the whole."""
        count = end - begin
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self._levels[height][begin >> height]
        middle = begin + _split(count)
        return node_hash(self._over(begin, middle), self._over(middle, end))

    def _path(self, index: int, begin: int, end: int) -> list[bytes]:
        if end - begin == 1:
            return []
        middle = begin + _split(end - begin)
        if index < middle:
            return [*self._path(index, begin, middle), self._over(middle, end)]
        return [*self._path(index, middle, end), self._over(begin, middle)]

    def _extension(self, old_size: int, begin: int, end: int, *, known: bool) -> list[bytes]:
        """known: whether the verifier has the hash over this subtree already, as the old root."""
        if old_size == end:
            return [] if known else [self._over(begin, end)]
        middle = begin + _split(end - begin)
        if old_size <= middle:
            return [*self._extension(old_size, begin, middle, known=known), self._over(middle, end)]
        return [*self._extension(old_size, middle, end, known=False), self._over(begin, middle)]


def _split(count: int) -> int:
    """Return the largest power of 2 below a count of 2 or more."""
    return 1 << ((count - 1).bit_length() - 1)


def check_inclusion(leaf: bytes, index: int, size: int, proof: Proof, root: bytes) -> None:
    """Return if the proof shows that this leaf is entry `index` of the list of `size` entries with this root.

    Source: RFC 9162, section 2.1.3.2.
    Raises: SignatureError if it does not.
    """
    if not 0 <= index < size:
        raise SignatureError(
            f"a proof says that entry {index} is in a log of {size} entries; the log has no such entry"
        )
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise SignatureError(f"the proof that entry {index} is in the log is too long; ask for the receipt again")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or value != root:
        raise SignatureError(
            f"the proof that entry {index} is in the log of {size} entries does not lead to the log's root: the entry, "
            "the proof or the log was changed"
        )


def check_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Proof) -> None:
    """Return if the proof shows that the list of `size` entries begins with the list of `old_size`.

    Source: RFC 9162, section 2.1.4.2.
    Raises: SignatureError if it does not.
    """
    problem = SignatureError(
        f"the log of {size} entries was not shown to begin with the log of {old_size} seen before: entries seen before "
        "were changed or left out"
    )
    if not 0 <= old_size <= size:
        raise problem
    if old_size in (0, size):
        if proof or old_root != (root if old_size else EMPTY_ROOT):
            raise problem
        return
    hashes = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not hashes:
        raise problem
    position, last = old_size - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = hashes[0]
    for value in hashes[1:]:
        if last == 0:
            raise problem
        if position & 1 or position == last:
            old, new = node_hash(value, old), node_hash(value, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, value)
        position, last = position >> 1, last >> 1
    if last != 0 or old != old_root or new != root:
        raise problem
