"""Which key is whose: pinned once, by comparing fingerprints, and changed only by the key itself.

A pin file holds, for each name, the key that was pinned and every change since. A change is signed
by the key that it ends (and by the new one, to show that somebody has it), so whoever pinned the
first key can follow to the present one without trusting who delivered the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.statements import Hash, Name, Revocation, Rotation, check, read, signature_of, written


class Change(BaseModel):
    """A rotation with the old and the new key's signatures, or a revocation with the key's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    change: Rotation | Revocation = Field(discriminator="kind")
    signatures: list[str]


class _PinnedKey(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    pinned: Hash
    changes: list[Change]


class _PinFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: str = Field(default="foedus pins 1", pattern="^foedus pins 1$")
    names: dict[Name, _PinnedKey]


@dataclass(frozen=True)
class Pin:
    """A name's keys, oldest first, and the changes that led from one to the next.

    revoked: whether the last one counts no more.
    """

    keys: Sequence[PublicKey]
    changes: Sequence[Change] = ()
    revoked: bool = False

    @property
    def current(self) -> PublicKey:
        """The key that signs now; of a revoked pin, the last one."""
        return self.keys[-1]


Pins = Mapping[str, Pin]


def pin(pins: Pins, name: str, key: PublicKey) -> Pins:
    """Return the pins with one more; the same key again changes nothing, and one that was revoked makes room.

    Raises: SignatureError if the name has another key, or this one was revoked.
    """
    if name in pins and pins[name].revoked and key not in pins[name].keys:
        return {**pins, name: Pin((key,))}
    if name in pins and pins[name].revoked:
        raise SignatureError(f"the key {key.fingerprint} of {name} was replaced or revoked; ask for its new key")
    if name in pins and pins[name].current != key:
        raise SignatureError(
            f"{name} is pinned with the key {pins[name].current.fingerprint}, and this one is {key.fingerprint}. "
            "If its owner rotated it, take in the change file; if not, somebody else may be using the name. If you "
            "know better, remove the name from the pin file first"
        )
    return pins if name in pins else {**pins, name: Pin((key,))}


def rotated(name: str, number: int, old: Identity, new: Identity) -> Change:
    """Return the change from an old key to a new one, signed by both.

    number: how many changes there were before.
    """
    change = Rotation(name=name, number=number, old=old.public.hex(), new=new.public.hex())
    return Change(change=change, signatures=[signature_of(change, identity) for identity in (old, new)])


def revoked(name: str, number: int, key: Identity) -> Change:
    """Return the end of a key, signed by itself.

    number: how many changes there were before.
    """
    change = Revocation(name=name, number=number, key=key.public.hex())
    return Change(change=change, signatures=[signature_of(change, key)])


def apply(pins: Pins, change: Change) -> Pins:
    """Return the pins after a change; one that was applied already changes nothing.

    Raises: SignatureError if the name is unknown, the change is out of order, or a signature does not fit.
    """
    name = change.change.name
    if name not in pins:
        raise SignatureError(f"the key of {name} is to be changed, but none is pinned; pin it first (foedus keys pin)")
    present = pins[name]
    if change in present.changes:
        return pins
    return {**pins, name: _applied(present, change)}


def _applied(present: Pin, change: Change) -> Pin:
    stated = change.change
    if present.revoked:
        raise SignatureError(f"the key of {stated.name} was revoked, so it can change no more; pin a new one by hand")
    ended = stated.old if isinstance(stated, Rotation) else stated.key
    if ended != present.current.hex() or stated.number != len(present.changes):
        raise SignatureError(
            f"change {stated.number} of the key of {stated.name} does not follow on what is pinned, the key "
            f"{present.current.fingerprint} after {len(present.changes)} changes; take in the earlier changes first"
        )
    signers = [present.current]
    if isinstance(stated, Rotation):
        signers.append(PublicKey.from_hex(stated.new))
    if len(change.signatures) != len(signers):
        raise SignatureError(
            f"a {stated.kind} of the key of {stated.name} has {len(signers)} signatures, not this many"
        )
    for key, signature in zip(signers, change.signatures, strict=True):
        check(stated, key, signature, stated.name)
    changes = (*present.changes, change)
    if isinstance(stated, Rotation):
        return Pin((*present.keys, signers[1]), changes)
    return Pin(present.keys, changes, revoked=True)


def current(pins: Pins, name: str) -> PublicKey:
    """Return the name's pinned key.

    Raises: SignatureError if it has none, or it was revoked.
    """
    if name in pins:
        require(pins, name, pins[name].current)
        return pins[name].current
    raise _unknown(name)


def require(pins: Pins, name: str, key: PublicKey, *, former: bool = False) -> None:
    """Return if this is the name's pinned key.

    former: a key that a later one took the place of will do, as for a run that is over.
    Raises: SignatureError if it is not, or it was revoked.
    """
    if name not in pins:
        raise _unknown(name)
    found = pins[name]
    if key not in (found.keys if former else found.keys[-1:]):
        raise SignatureError(
            f"{name} uses the key {key.fingerprint}, but pinned is {found.current.fingerprint}; if it rotated its key, "
            "take in the change file (foedus keys pin); if not, somebody else may be using the name"
        )
    if found.revoked and key == found.current:
        raise SignatureError(f"the key {key.fingerprint} of {name} was revoked: what it signed counts no more")


def _unknown(name: str) -> SignatureError:
    return SignatureError(f"no key is pinned for {name}; compare its fingerprint and pin it (foedus keys pin)")


def load_pins(path: Path) -> Pins:
    """Return what a pin file holds, with every change checked; nothing if there is no file.

    Raises: SignatureError if it is damaged, or a change in it does not hold.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SignatureError(f"the pin file {path} cannot be read: {error.strerror}") from error
    return read_pins(text, f"the pin file {path}")


def read_pins(text: bytes, what: str) -> Pins:
    """Return what the text of a pin file says, with every change checked.

    what: what is being read, for the message.
    Raises: SignatureError as load_pins.
    """
    found: dict[str, Pin] = {}
    for name, entry in read(_PinFile, text.removesuffix(b"\n"), what).names.items():
        present = Pin((PublicKey.from_hex(entry.pinned),))
        for change in entry.changes:
            if change.change.name != name:
                raise SignatureError(f"{what} has a change of {change.change.name} under the name {name}")
            present = _applied(present, change)
        found[name] = present
    return found


def save_pins(path: Path, pins: Pins) -> None:
    """Write a pin file that is there whole or as it was.

    Raises: SignatureError if it cannot be written.
    """
    names = {name: _PinnedKey(pinned=p.keys[0].hex(), changes=list(p.changes)) for name, p in pins.items()}
    write_whole(path, written(_PinFile(names=names)) + b"\n")


def write_change(change: Change) -> bytes:
    """Return the content of a change file, which its owner hands out."""
    return written(change) + b"\n"


def read_change(text: bytes, what: str) -> Change:
    """Return what a change file says; its signatures are checked when it is applied.

    what: what is being read, for the message.
    Raises: SignatureError if it is not a change.
    """
    return read(Change, text.removesuffix(b"\n"), what)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or as it was.

    Raises: SignatureError if it cannot be written.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise SignatureError(f"{path} cannot be written: {error.strerror}") from error
