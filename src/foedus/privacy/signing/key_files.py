"""Keys on the disk: private ones that their owner alone can read, public ones to hand out."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import Identity, PublicKey

PRIVATE, PUBLIC = ".key", ".pub"
_ALGORITHM = "foedus-ed25519"
_OWNER_ONLY = 0o600
_MAX_BYTES = 1 << 16


def private_path(folder: Path, name: str) -> Path:
    """Return where the private key of this name lies."""
    return folder / (_file_name(name) + PRIVATE)


def public_path(folder: Path, name: str) -> Path:
    """Return where the public key of this name lies."""
    return folder / (_file_name(name) + PUBLIC)


def _file_name(name: str) -> str:
    """Return a name that every file system takes, whatever participants are called."""
    try:
        return quote(name, safe=" ")
    except UnicodeEncodeError:
        raise SignatureError("a participant's name holds half a character; give it another name") from None


def save_private(path: Path, identity: Identity, passphrase: str | None = None) -> None:
    """Write a private key to a new file that its owner alone may read (PKCS #8, PEM).

    passphrase: encrypts it.
    Raises: SignatureError if the file is there already or cannot be written.
    """
    way: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    text = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, way)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".")  # of mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).chmod(_OWNER_ONLY)
            os.link(draft, path)  # fails if the file is there, and never leaves half of one
        finally:
            Path(draft).unlink()
    except FileExistsError:
        raise SignatureError(
            f"{path} is there already, and a lost key cannot be made again; use foedus keys rotate, or another name. "
            "Delete the file yourself if its key was revoked"
        ) from None
    except OSError as error:
        raise SignatureError(f"{path} cannot be written: {error.strerror}") from error


def load_private(path: Path, passphrase: str | None = None) -> Identity:
    """Return the identity that a file holds.

    Raises: SignatureError if it is missing, not an Ed25519 key, readable by others, or the passphrase is not its own.
    """
    text = _read(path, "make it with foedus keys new")
    if mode := stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SignatureError(
            f"{path} is a private key that others may use (its mode is {mode | 0o600:o}); "
            f"chmod 600 it, and rotate it if others had access to this machine"
        )
    try:
        key = load_pem_private_key(text, passphrase.encode() if passphrase else None)
    except TypeError:
        wrong = "has no passphrase, and one was given" if passphrase else "is encrypted; its passphrase is needed"
        raise SignatureError(f"the private key {path} {wrong}") from None
    except (ValueError, UnsupportedAlgorithm):
        reason = "the passphrase is not its own, or it is damaged" if passphrase else "it is damaged"
        raise SignatureError(f"the private key {path} cannot be read: {reason}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path} holds another kind of key; only Ed25519 keys sign here")
    return Identity(key)


def is_encrypted(path: Path) -> bool:
    """Return whether a private key file needs a passphrase.

    Raises: SignatureError if it cannot be read.
    """
    return _read(path, "make it with foedus keys new").startswith(b"-----BEGIN ENCRYPTED ")


def write_public(name: str, key: PublicKey) -> str:
    """Return the line of a public key file."""
    return f"{_ALGORITHM} {key.hex()} {_file_name(name)}\n"


def read_public(path: Path) -> tuple[str, PublicKey]:
    """Return whose key a public key file holds, and the key.

    Raises: SignatureError if it holds none.
    """
    return parse_public(_read(path, "ask its owner for the file that foedus keys new wrote"), str(path))


def parse_public(text: bytes, what: str) -> tuple[str, PublicKey]:
    """Return whose key a line says, and the key.

    what: what is being read, for the message.
    Raises: SignatureError unless the line is exactly how a public key is written.
    """
    try:
        algorithm, raw, quoted = text.decode("ascii").removesuffix("\n").split(" ", 2)
        name, key = unquote(quoted, errors="strict"), PublicKey.from_hex(raw)
        if name and algorithm == _ALGORITHM and write_public(name, key).encode() == text:
            return name, key
    except ValueError:
        pass
    raise SignatureError(f"{what} is not a public key; it is one line: {_ALGORITHM}, 64 hexadecimal digits, a name")


def _read(path: Path, advice: str) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SignatureError(f"the key {path} cannot be read: {error.strerror}; {advice}") from error
    if len(text) > _MAX_BYTES:
        raise SignatureError(f"{path} is no key: it has more than {_MAX_BYTES} bytes")
    return text
