"""A folder of keys as somebody has it: private keys of its own, and what it pinned of the others'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.key_files import is_encrypted, load_private, private_path
from foedus.privacy.signing.pins import current, load_pins, require

PINS = "pins.json"


def own_identity(folder: Path, name: str, passphrase: str | None = None) -> Identity:
    """Return the identity of this name whose private key lies in the folder, and which is the pinned one.

    passphrase: is used if the key is encrypted.
    Raises: SignatureError if the key is missing, cannot be used, was revoked, or is another than the pinned one.
    """
    path = private_path(folder, name)
    found = load_private(path, passphrase if is_encrypted(path) else None)
    require(load_pins(folder / PINS), name, found.public)
    return found


def pinned_keys(folder: Path, names: Iterable[str]) -> Mapping[str, PublicKey]:
    """Return the public keys that are pinned for these names.

    Raises: SignatureError if one has none, or it was revoked.
    """
    pins = load_pins(folder / PINS)
    return {name: current(pins, name) for name in names}
