"""Making, showing, pinning and changing the keys by which the parties of a federation know each other.

A folder of keys holds NAME.key, which never leaves it, NAME.pub to hand out, NAME.0.change and so on
for changes to hand out, and pins.json, which says whose key is which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foedus.core.errors import SignatureError
from foedus.privacy.signing import key_files
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.key_folder import PINS
from foedus.privacy.signing.pins import (
    Change,
    apply,
    load_pins,
    pin,
    read_change,
    require,
    revoked,
    rotated,
    save_pins,
    write_change,
    write_whole,
)

CHANGE = ".change"


@dataclass(frozen=True)
class KnownKey:
    """A name's key in a folder.

    own: whether its private key lies there. changes: how often it was rotated or revoked.
    """

    name: str
    fingerprint: str
    own: bool
    revoked: bool = False
    changes: int = 0


@dataclass(frozen=True)
class Handout:
    """A file that was written for the others, and the key that it is about."""

    file: Path
    key: KnownKey


def new_key(name: str, folder: Path, passphrase: str | None = None) -> Handout:
    """Make a key of this name, pin it in the folder, and return the public file to hand out.

    Raises: SignatureError if there is one already.
    """
    identity, pins = Identity.create(), load_pins(folder / PINS)
    if not (place := key_files.private_path(folder, name)).exists():
        pins = pin(pins, name, identity.public)
    key_files.save_private(place, identity, passphrase)
    save_pins(folder / PINS, pins)
    return Handout(_write_public(folder, name, identity), _known(folder, name))


def show_keys(folder: Path, names: Sequence[str] = ()) -> list[KnownKey]:
    """Return the pinned keys of these names, or of all.

    Raises: SignatureError if a name has none.
    """
    pinned = load_pins(folder / PINS)
    return [_known(folder, name) for name in names or sorted(pinned)]


def read_handout(file: Path) -> tuple[str, str] | None:
    """Return the name and the fingerprint in a public key file; None for a change file, which proves itself.

    Raises: SignatureError if it is neither.
    """
    if file.suffix == CHANGE:
        return None
    name, key = key_files.read_public(file)
    return name, key.fingerprint


def pin_key(file: Path, folder: Path, fingerprint: str | None = None) -> KnownKey:
    """Take in another's public key file, or the file of a change of its key, and return the key that counts now.

    fingerprint: what the key's owner read out; needed for a public key, which could be anybody's.
    Raises: SignatureError if it is another key, or the change does not follow on what is pinned.
    """
    pins = load_pins(folder / PINS)
    if file.suffix == CHANGE:
        change = read_change(_content(file), str(file))
        pins, name = apply(pins, change), change.change.name
    else:
        name, key = key_files.read_public(file)
        if fingerprint != key.fingerprint:
            raise SignatureError(
                f"the key in {file} has the fingerprint {key.fingerprint}, not {fingerprint}; have its owner read it "
                "out to you, by telephone for instance"
            )
        pins = pin(pins, name, key)
    save_pins(folder / PINS, pins)
    return _known(folder, name)


def rotate_key(name: str, folder: Path, passphrase: str | None = None) -> Handout:
    """Replace a key by a new one and return the file that shows the others that the old one agreed.

    Interrupted, it can be called again and ends as if it had not been.
    Raises: SignatureError if the old key cannot be used.
    """
    pins, place = load_pins(folder / PINS), key_files.private_path(folder, name)
    draft = place.with_suffix(".next")
    if not draft.exists():
        require(pins, name, key_files.load_private(place, passphrase).public)
        key_files.save_private(draft, Identity.create(), passphrase)
    new = key_files.load_private(draft, passphrase)
    if name not in pins or pins[name].current != new.public:
        old = key_files.load_private(place, passphrase)
        require(pins, name, old.public)
        pins = apply(pins, rotated(name, len(pins[name].changes), old, new))
        save_pins(folder / PINS, pins)
    handout = _write_change(folder, name, pins[name].changes)
    draft.replace(place)
    _write_public(folder, name, new)
    return handout


def revoke_key(name: str, folder: Path, passphrase: str | None = None) -> Handout:
    """End a key for good and return the file that tells the others.

    Raises: SignatureError if it cannot be used, or was revoked before.
    """
    pins = load_pins(folder / PINS)
    key = key_files.load_private(key_files.private_path(folder, name), passphrase)
    require(pins, name, key.public)
    pins = apply(pins, revoked(name, len(pins[name].changes), key))
    save_pins(folder / PINS, pins)
    return _write_change(folder, name, pins[name].changes)


def _write_public(folder: Path, name: str, identity: Identity) -> Path:
    path = key_files.public_path(folder, name)
    write_whole(path, key_files.write_public(name, identity.public).encode())
    return path


def _write_change(folder: Path, name: str, changes: Sequence[Change]) -> Handout:
    path = key_files.public_path(folder, name).with_suffix(f".{len(changes) - 1}{CHANGE}")
    write_whole(path, write_change(changes[-1]))
    return Handout(path, _known(folder, name))


def _known(folder: Path, name: str) -> KnownKey:
    pins = load_pins(folder / PINS)
    if name not in pins:
        raise SignatureError(
            f"{folder / PINS} has no key of {name}; make one with foedus keys new, or pin it with foedus keys pin"
        )
    found = pins[name]
    own = key_files.private_path(folder, name).exists()
    return KnownKey(name, found.current.fingerprint, own, found.revoked, len(found.changes))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SignatureError(f"{file} cannot be read: {error.strerror}") from error
