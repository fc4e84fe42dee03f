"""The proofs of a Merkle tree, against published roots, a slow obvious version, and every change of a byte."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import SignatureError
from foedus.privacy.signing.merkle import MerkleTree, check_consistency, check_inclusion, leaf_hash

# The entries and roots of Certificate Transparency's own tests of RFC 6962.
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
sizes = st.integers(1, 130)


def tree_of(count: int) -> MerkleTree:
    return MerkleTree(leaf_hash(str(number).encode()) for number in range(count))


def obvious_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root as RFC 6962, section 2.1, defines it."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + obvious_root(leaves[:split]) + obvious_root(leaves[split:])).digest()


def test_the_published_roots_are_found() -> None:
    tree = MerkleTree(leaf_hash(bytes.fromhex(text)) for text in ENTRIES)
    assert [tree.root(size).hex() for size in range(9)] == ROOTS


@given(sizes)
def test_the_root_is_that_of_the_definition(size: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    assert MerkleTree(leaves).root() == obvious_root(leaves)


def test_every_entry_of_every_small_tree_is_proven_and_nothing_else() -> None:
    for size in range(1, 18):
        tree = tree_of(size)
        for index in range(size):
            proof = tree.inclusion(index)
            check_inclusion(tree.leaf(index), index, size, proof, tree.root())
            for other in set(range(size + 1)) - {index}:
                with pytest.raises(SignatureError):
                    check_inclusion(tree.leaf(index), other, size, proof, tree.root())


def test_every_small_tree_is_shown_to_extend_every_smaller_one() -> None:
    for size in range(18):
        tree = tree_of(size)
        for old in range(size + 1):
            check_consistency(old, tree.root(old), size, tree.root(), tree.consistency(old))


@given(sizes, st.data())
def test_an_old_size_has_the_proofs_that_it_had_then(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    index = data.draw(st.integers(0, old - 1))
    assert tree_of(size).inclusion(index, old) == tree_of(old).inclusion(index)
    assert tree_of(size).root(old) == tree_of(old).root()


@given(sizes, st.data())
def test_a_changed_bit_of_an_inclusion_proof_is_found(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    index = data.draw(st.integers(0, size - 1))
    pieces = [tree.leaf(index), tree.root(), *tree.inclusion(index)]
    leaf, root, *proof = flipped(pieces, data)
    with pytest.raises(SignatureError, match="does not lead to"):
        check_inclusion(leaf, index, size, proof, root)


@given(st.integers(2, 130), st.data())
def test_a_changed_bit_of_a_consistency_proof_is_found(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    old = data.draw(st.integers(1, size - 1))
    old_root, root, *proof = flipped([tree.root(old), tree.root(), *tree.consistency(old)], data)
    with pytest.raises(SignatureError, match="was not shown to begin"):
        check_consistency(old, old_root, size, root, proof)


@given(st.integers(2, 130), st.data())
def test_a_tree_with_another_entry_does_not_extend_the_old_one(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    leaves = [leaf_hash(b"other" if number == changed else str(number).encode()) for number in range(size)]
    with pytest.raises(SignatureError):
        check_consistency(
            old, tree_of(old).root(), size, MerkleTree(leaves).root(), MerkleTree(leaves).consistency(old)
        )


@given(sizes, st.data())
def test_a_proof_of_another_length_is_refused(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof = list(tree.inclusion(index))
    for wrong in ([*proof, bytes(32)], proof[:-1] if proof else [bytes(32)]):
        with pytest.raises(SignatureError):
            check_inclusion(tree.leaf(index), index, size, wrong, tree.root())
    old = data.draw(st.integers(0, size))
    extension = list(tree.consistency(old))
    for wrong in ([*extension, bytes(32)], extension[:-1] if extension else [bytes(32)]):
        with pytest.raises(SignatureError):
            check_consistency(old, tree.root(old), size, tree.root(), wrong)


def test_an_inner_node_is_no_entry() -> None:
    tree = tree_of(4)
    inner = tree.root(2)
    with pytest.raises(SignatureError):
        check_inclusion(leaf_hash(tree.leaf(0) + tree.leaf(1)), 0, 2, tree.inclusion(0)[1:], tree.root())
    assert leaf_hash(tree.leaf(0) + tree.leaf(1)) != inner


@pytest.mark.parametrize(("index", "size"), [(3, 3), (-1, 3), (0, 0), (0, 5)])
def test_what_is_not_in_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"not among|has 4 entries"):
        tree_of(4).inclusion(index, size)


def flipped(pieces: list[bytes], data: st.DataObject) -> list[bytes]:
    """Return the pieces with one bit of one of them changed."""
    which = data.draw(st.integers(0, len(pieces) - 1))
    bit = data.draw(st.integers(0, 8 * len(pieces[which]) - 1))
    raw = bytearray(pieces[which])
    raw[bit // 8] ^= 1 << bit % 8
    return [*pieces[:which], bytes(raw), *pieces[which + 1 :]]
