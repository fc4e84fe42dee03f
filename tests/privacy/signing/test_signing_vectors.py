"""Recorded values for every step from a statement to the log's root, and what must be refused.

The steps are done here once more with hashlib and Ed25519 alone.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from foedus.core.errors import SignatureError
from foedus.privacy.signing.digests import tree_digest
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.log import read_entry
from foedus.privacy.signing.merkle import MerkleTree, check_consistency, check_inclusion
from foedus.privacy.signing.statements import sign, written

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "signing.json").read_text())
SECRET = bytes.fromhex(VECTORS["secret"])
IDENTITY = Identity.from_seed(SECRET)


def sha256(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"".join(pieces)).digest()


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry["kind"]) for entry in VECTORS["entries"]])
def test_an_entry_is_signed_written_and_hashed_as_recorded(entry: dict[str, str]) -> None:
    found = read_entry(entry["line"].encode(), 0)
    found.check(IDENTITY.public)
    assert written(sign(found.statement, IDENTITY, found.signer)) == entry["line"].encode()
    assert json.dumps(json.loads(entry["body"]), sort_keys=True, separators=(",", ":")) == entry["body"]
    message = b"foedus signature 1\x00" + entry["kind"].encode() + b"\x00" + entry["body"].encode()
    assert message.hex() == entry["message"]
    assert Ed25519PrivateKey.from_private_bytes(SECRET).sign(message).hex() == entry["signature"]
    assert json.loads(entry["line"])["statement"] == json.loads(entry["body"])
    assert sha256(b"\x00", entry["line"].encode()).hex() == entry["leaf"]


def test_the_key_has_the_recorded_fingerprint() -> None:
    assert (IDENTITY.public.hex(), IDENTITY.public.fingerprint) == (VECTORS["public"], VECTORS["fingerprint"])


def test_the_log_has_the_recorded_roots_and_proofs() -> None:
    leaves = [bytes.fromhex(entry["leaf"]) for entry in VECTORS["entries"][:4]]
    tree = MerkleTree(leaves)
    assert [tree.root(size).hex() for size in range(5)] == VECTORS["roots"]
    left, right = sha256(b"\x01", *leaves[:2]), sha256(b"\x01", *leaves[2:])
    assert sha256(b"\x01", left, right).hex() == VECTORS["roots"][4]
    assert VECTORS["inclusion"] == {"index": 2, "size": 4, "path": [leaves[3].hex(), left.hex()]}
    assert VECTORS["consistency"]["path"] == [leaves[2].hex(), leaves[3].hex(), left.hex()]
    path, extension = ([bytes.fromhex(x) for x in VECTORS[what]["path"]] for what in ("inclusion", "consistency"))
    check_inclusion(leaves[2], 2, 4, path, tree.root())
    check_consistency(3, tree.root(3), 4, tree.root(), extension)


def test_a_tree_of_tensors_has_the_recorded_digest() -> None:
    hashes = []
    for tensor in VECTORS["tree"]["tensors"]:
        described = f'{{"dtype":"{tensor["dtype"]}","name":"{tensor["name"]}","shape":{tensor["shape"]}}}'
        hashes.append(sha256(b"\x00", described.replace(" ", "").encode(), b"\x00", bytes.fromhex(tensor["bytes"])))
        assert hashes[-1].hex() == tensor["hash"]
    assert sha256(b"\x01", *hashes).hex() == VECTORS["tree"]["digest"]
    tree = {"b": torch.tensor([[1.0, -2.0]]), "a": torch.tensor([3])}
    assert tree_digest(tree).hex() == VECTORS["tree"]["digest"]


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad["what"]) for bad in VECTORS["bad"]])
def test_a_bad_entry_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(SignatureError, match=bad["refusal"]):
        read_entry(bad["line"].encode(), 0).check(IDENTITY.public)
