"""Identities, their files, and fingerprints."""

import copy
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from foedus.core.errors import SignatureError
from foedus.privacy.signing.canonical import signed_bytes
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.key_files import (
    load_private,
    parse_public,
    private_path,
    public_path,
    read_public,
    save_private,
    write_public,
)

# RFC 8032, section 7.1, test 1.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_published_secret_has_the_published_public_key() -> None:
    assert Identity.from_seed(SECRET).public.hex() == PUBLIC


def test_a_signature_fits_its_statement_kind_and_key_alone() -> None:
    one, other = Identity.create(), Identity.create()
    signature = one.sign("update", {"a": 1})
    one.public.check("update", {"a": 1}, signature, "north")
    for key, kind, value in (
        (other.public, "update", {"a": 1}),
        (one.public, "request", {"a": 1}),
        (one.public, "update", {"a": 2}),
        (one.public, "update", {"a": 1.0}),
    ):
        with pytest.raises(SignatureError, match=f"signature of north does not fit its {kind} statement"):
            key.check(kind, value, signature, "north")


@given(st.integers(0, 511))
def test_a_changed_bit_of_a_signature_is_found(bit: int) -> None:
    identity = Identity.from_seed(SECRET)
    raw = bytearray.fromhex(identity.sign("update", None))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError):
        identity.public.check("update", None, raw.hex(), "north")


@pytest.mark.parametrize("signature", ["", "00", "zz" * 64, "0" * 127, "0" * 129, "AA" * 64, " " + "0" * 127, "é" * 64])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(SignatureError, match="128 lower-case hexadecimal digits"):
        Identity.from_seed(SECRET).public.check("update", None, signature, "north")


def test_a_key_under_which_anything_is_signed_is_refused() -> None:
    neutral, anything = b"\x01" + bytes(31), b"\x01" + bytes(63)
    for statement in (1, 2):  # one signature, which this key takes for every statement
        Ed25519PublicKey.from_public_bytes(neutral).verify(anything, signed_bytes("update", statement))
    for raw in (neutral, b"\x01" + bytes(30) + b"\x80", bytes(32), b"\xec" + b"\xff" * 30 + b"\x7f"):
        with pytest.raises(SignatureError, match="small order"):
            PublicKey(raw)


def test_a_private_key_is_not_shown_copied_or_pickled() -> None:
    identity = Identity.from_seed(SECRET)
    assert "hidden" in repr(identity)
    assert SECRET.hex() not in repr(identity) + str(vars(identity))
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            leak(identity)


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_private_key_file_is_its_owners_alone_and_gives_the_key_back(tmp_path: Path, passphrase: str | None) -> None:
    path, identity = tmp_path / "keys" / "north.key", Identity.create()
    save_private(path, identity, passphrase)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_private(path, passphrase).public == identity.public
    assert [file.name for file in path.parent.iterdir()] == ["north.key"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "north.key"
    save_private(path, Identity.create())
    before = path.read_bytes()
    with pytest.raises(SignatureError, match="is there already"):
        save_private(path, Identity.create())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_or_missing_or_needless_passphrase_is_refused(tmp_path: Path) -> None:
    closed, opened = tmp_path / "a.key", tmp_path / "b.key"
    save_private(closed, Identity.create(), "right")
    save_private(opened, Identity.create())
    for path, passphrase, words in (
        (closed, "wrong", "the passphrase is not its own"),
        (closed, None, "its passphrase is needed"),
        (opened, "right", "has no passphrase, and one was given"),
    ):
        with pytest.raises(SignatureError, match=words) as caught:
            load_private(path, passphrase)
        assert "right" not in str(caught.value).replace("is encrypted", "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "north.key"
    save_private(path, Identity.create())
    path.chmod(mode)
    with pytest.raises(SignatureError, match=f"its mode is {mode:o}"):
        load_private(path)


def test_another_kind_of_key_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "north.key"
    with pytest.raises(SignatureError, match="foedus keys new"):
        load_private(path)
    path.touch(mode=0o600)
    with pytest.raises(SignatureError, match="it is damaged"):
        load_private(path)
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SignatureError, match="only Ed25519 keys"):
        load_private(path)
    path.write_bytes(bytes(1 << 17))
    with pytest.raises(SignatureError, match="more than 65536 bytes"):
        load_private(path)


@given(st.text(min_size=1).filter(lambda name: name.isprintable()))
def test_every_name_has_a_file_of_its_own_and_comes_back(name: str) -> None:
    key = Identity.from_seed(SECRET).public
    folder = Path("keys")
    assert private_path(folder, name).parent == folder == public_path(folder, name).parent
    assert parse_public(write_public(name, key).encode(), "it") == (name, key)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(SignatureError, match="half a character"):
        private_path(Path(), "\ud800")


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"foedus-ed25519 {PUBLIC}",
        f"foedus-ed25519 {PUBLIC} ",
        f"ssh-ed25519 {PUBLIC} north\n",
        f"foedus-ed25519 {PUBLIC.upper()} north\n",
        f"foedus-ed25519 {PUBLIC[:-2]} north\n",
        f"foedus-ed25519 {PUBLIC} north\n\n",
        f"foedus-ed25519 {PUBLIC} n%6frth\n",
        f"foedus-ed25519 {PUBLIC} %FF\n",
        f"foedus-ed25519 {'00' * 32} north\n",
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "north.pub"
    path.write_text(line)
    with pytest.raises(SignatureError):
        read_public(path)


def test_no_refusal_shows_a_piece_of_a_key_or_of_its_passphrase(tmp_path: Path) -> None:
    """Whatever a private key file became: each byte of it changed, cut at each place, or opened with other words."""
    path = tmp_path / "north.key"
    save_private(path, Identity.from_seed(b"s" * 32), None)
    whole = path.read_bytes()
    body = whole.split(b"\n")[1].decode()
    pieces = [body[place : place + 8] for place in range(28, len(body) - 8)]  # the front is the same in every such file
    refused = 0
    for place in range(len(whole)):
        for content in (whole[:place], whole[:place] + b"?" + whole[place + 1 :]):
            path.write_bytes(content)
            for passphrase in (None, "secret words"):
                try:
                    load_private(path, passphrase)
                except SignatureError as error:
                    refused += 1
                    said = f"{error} {error.__cause__} {error.__context__ if not error.__suppress_context__ else ''}"
                    assert not any(piece in said for piece in pieces)
                    assert "secret words" not in said
    assert refused > 3 * len(whole)
