"""Who signs: Ed25519 keys (RFC 8032), and the fingerprints by which people compare them.

One key signs for all of its owner's protocols. What is signed begins with its protocol's context, so that a signature
of one is none of another.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from foedus.core.errors import SignatureError
from foedus.privacy.signing.canonical import STATEMENTS, in_context, signed_bytes

KEY_BYTES, SIGNATURE_BYTES = 32, 64
_FINGERPRINT_BYTES = 15  # 120 bits, in 6 groups of 4 letters: nobody finds a second key of the same one

# Points of order 1, 2, 4 or 8, without the sign bit. Under such a key one signature fits many
# messages, so its owner could deny what it signed.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


@dataclass(frozen=True)
class PublicKey:
    """The key that checks somebody's signatures.

    raw: 32 bytes.
    Raises: SignatureError if they are no usable key.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_BYTES:
            raise SignatureError(f"a public key has {KEY_BYTES} bytes; this one has {len(self.raw)}")
        if self.raw[:-1] + bytes([self.raw[-1] & 0x7F]) in _SMALL_ORDER:
            raise SignatureError("this public key is a point of small order, under which anything can be signed")

    @classmethod
    def from_hex(cls, text: str) -> PublicKey:
        """Return the key that 64 lower-case hexadecimal digits stand for.

        Raises: SignatureError if they stand for none.
        """
        return cls(_from_hex(text, KEY_BYTES, "a public key"))

    def hex(self) -> str:
        """Return the key as text."""
        return self.raw.hex()

    @property
    def fingerprint(self) -> str:
        """What people read out to each other to know that they have the same key.

        >>> PublicKey(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")).fingerprint
        'nmkp-q7yt-lbxj-ucaz-xjn2-y4ag'
        """
        hashed = hashlib.sha256(b"foedus fingerprint 1\x00" + self.raw).digest()[:_FINGERPRINT_BYTES]
        letters = base64.b32encode(hashed).decode().lower()
        return "-".join(letters[begin : begin + 4] for begin in range(0, len(letters), 4))

    def check(self, kind: str, value: Any, signature: str, signer: str) -> None:
        """Return if the signature is this key's, over this value as a statement of this kind.

        signer: who is said to have signed, for the message.
        Raises: SignatureError if it is not.
        """
        raw = _from_hex(signature, SIGNATURE_BYTES, f"the signature of {signer}")
        self._check(raw, signed_bytes(kind, value), f"its {kind} statement", signer)

    def check_message(self, context: bytes, message: bytes, signature: bytes, signer: str) -> None:
        """Return if the signature is this key's, over this message in this context.

        Raises: SignatureError if it is not.
        """
        self._check(signature, in_context(context, message), "its message", signer)

    def _check(self, signature: bytes, signed: bytes, what: str, signer: str) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, signed)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            raise SignatureError(
                f"the signature of {signer} does not fit {what} under the key {self.fingerprint}: it was changed, or "
                "somebody else signed it"
            ) from None


class Identity:
    """A private key: it signs, and shows nothing of itself."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def create(cls) -> Identity:
        """Return a new identity, drawn by the operating system."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """Return the identity of 32 secret bytes, as tests have them."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, kind: str, value: Any) -> str:
        """Return the signature over a value as a statement of this kind, as hexadecimal text."""
        return self._key.sign(signed_bytes(kind, value)).hex()

    def sign_message(self, context: bytes, message: bytes) -> bytes:
        """Return the signature over a message of another protocol than that of statements.

        context: the protocol's own, which no other one uses.
        Raises: ValueError if it is the statements' context, or none.
        """
        if context == STATEMENTS:
            raise ValueError("a message was to be signed as if it were a statement; sign statements with Identity.sign")
        return self._key.sign(in_context(context, message))

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The key itself, for the file that it is kept in."""
        return self._key

    def __repr__(self) -> str:
        return f"Identity({self.public.fingerprint}, private key hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an identity cannot be copied or pickled: its private key stays in one place")


def _from_hex(text: str, length: int, what: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != length or raw.hex() != text:  # one text for one value: no capitals, no spaces
        raise SignatureError(f"{what} is not {2 * length} lower-case hexadecimal digits")
    return raw
