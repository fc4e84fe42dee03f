"""Keys: what identities sign, key pairs of one round that agree, and what is derived from them.

Everything is a function of `cryptography`: Ed25519 (RFC 8032), X25519 (RFC 7748), HKDF-SHA256 (RFC 5869),
ChaCha20-Poly1305 (RFC 8439). Each derivation names what it is for, the round's roster and both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from foedus.core.entropy import Entropy
from foedus.core.errors import SecureSumError, SignatureError
from foedus.federation.messages import ParticipantId
from foedus.privacy.secure_sum.wire import DOMAIN, VERSION, number, text
from foedus.privacy.signing.identity import Identity, PublicKey

KEY_BYTES = 32
TAG_BYTES = 16
SIGNED = DOMAIN + number(VERSION, 1) + b" signature"  # the context of what identities sign here

Identities = Mapping[ParticipantId, PublicKey]  # pinned keys, agreed on outside of the protocol


def signature_of(identity: Identity, message: bytes) -> bytes:
    """Return the identity's signature over a message that begins with its own domain and kind."""
    return identity.sign_message(SIGNED, message)


def verify_terms(
    participant: ParticipantId, terms: tuple[bytes, bytes], signature: bytes, message: bytes, identities: Identities
) -> None:
    """Return if a participant of a roster signed this message, with its pinned key, and it is of our terms.

    terms: the digests of those in the message, and of ours.
    Raises: SecureSumError otherwise.
    """
    if participant not in identities:
        raise SecureSumError(f"{participant} is on the roster, but no key is pinned for it")
    given, ours = terms
    if given != ours:
        raise SecureSumError(f"{participant} signed other terms: another model, round or set of rules")
    verify(identities[participant], signature, message, f"what {participant} showed")


def verify(public: PublicKey, signature: bytes, message: bytes, what: str) -> None:
    """Return if the signature is right.

    Raises: SecureSumError otherwise; `what` says whose.
    """
    try:
        _verify(public, signature, message)
    except SignatureError:
        raise SecureSumError(f"{what} is not signed with the key that is pinned for it") from None


@lru_cache(maxsize=1 << 14)  # in a simulation, all participants of one process verify the same signatures
def _verify(public: PublicKey, signature: bytes, message: bytes) -> None:
    public.check_message(SIGNED, message, signature, "a participant")


@dataclass(frozen=True)
class RoundKeys:
    """One participant's secrets of one round, each drawn anew; `repr` hides them.

    channel: X25519 key that shares are sealed with. mask: X25519 key that pairwise masks come from.
    seed: what its own mask comes from.
    """

    channel: bytes = field(repr=False)
    mask: bytes = field(repr=False)
    seed: bytes = field(repr=False)

    @classmethod
    def create(cls, entropy: Entropy) -> RoundKeys:
        """Return keys made of the stream's next bytes."""
        return cls(*(bytes(entropy.draw(KEY_BYTES)) for _ in range(3)))

    @cached_property
    def channel_side(self) -> X25519PrivateKey:
        """The channel key, ready to agree."""
        return X25519PrivateKey.from_private_bytes(self.channel)

    @cached_property
    def mask_side(self) -> X25519PrivateKey:
        """The mask key, ready to agree."""
        return X25519PrivateKey.from_private_bytes(self.mask)


def public_key(private: bytes) -> bytes:
    """Return the X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def commitment(seed: bytes) -> bytes:
    """Return what shows later that an opened seed is the one that was drawn.

    It hides the seed, since that is uniform over 2^256.
    """
    return sha256(DOMAIN + number(VERSION, 1) + b" seed\x00" + seed).digest()


def agreed(private: X25519PrivateKey, public: bytes) -> bytes:
    """Return the X25519 secret of two sides.

    Raises: SecureSumError for a public key of low order, with which everyone agrees on zeros.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise SecureSumError("a participant's public key makes no secret; it is not an honest one") from None


def pair_mask_key(secret: bytes, roster: bytes, one: str, other: str) -> bytes:
    """Return the key of the mask between two participants, from what their mask keys agreed on.

    It is the same from both sides.
    """
    low, high = sorted((one, other))
    return derived(secret, roster, b"pair mask", text(low) + text(high))


def own_mask_key(seed: bytes, roster: bytes, owner: str) -> bytes:
    """Return the key of a participant's own mask."""
    return derived(seed, roster, b"own mask", text(owner))


def seal(secret: bytes, roster: bytes, route: tuple[str, str], plain: bytes) -> bytes:
    """Encrypt for the second of the route, so that only from the first, to it, in this round it opens.

    secret: what their channel keys agreed on. The key derived here serves one message, so the nonce is 0.
    """
    return ChaCha20Poly1305(_channel_key(secret, roster, route)).encrypt(bytes(12), plain, _bound(roster, route))


def unseal(secret: bytes, roster: bytes, route: tuple[str, str], sealed: bytes) -> bytes:
    """Return what was sealed.

    Raises: SecureSumError if a bit of it, its source, its destination or its round is another.
    """
    try:
        return ChaCha20Poly1305(_channel_key(secret, roster, route)).decrypt(bytes(12), sealed, _bound(roster, route))
    except InvalidTag:
        raise SecureSumError(
            f"what {route[0]} sealed for {route[1]} does not open; it was damaged or swapped"
        ) from None


def _channel_key(secret: bytes, roster: bytes, route: tuple[str, str]) -> bytes:
    return derived(secret, roster, b"channel", text(route[0]) + text(route[1]))


def _bound(roster: bytes, route: tuple[str, str]) -> bytes:
    return DOMAIN + number(VERSION, 1) + b" shares\x00" + roster + text(route[0]) + text(route[1])


def derived(secret: bytes, roster: bytes, purpose: bytes, info: bytes) -> bytes:
    """Return the key for one purpose in one round."""
    full = DOMAIN + number(VERSION, 1) + b" " + purpose + b"\x00" + info
    return HKDF(SHA256(), KEY_BYTES, salt=roster, info=full).derive(secret)
