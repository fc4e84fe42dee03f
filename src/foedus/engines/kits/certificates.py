"""Certificates for mTLS, as NVIDIA FLARE reads them: the name in CN, the organisation in O, a user's role beside.

RSA, since FLARE's clients log in by RSA signatures. Nothing in a certificate comes from who asked for it, but the
public key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from foedus.core.errors import LinkError
from foedus.engines.kits.kit import COORDINATOR, OPERATOR, STARTUP, Kit, League
from foedus.engines.kits.startup import flare_module

KEY_BITS = 3072
ROOT = "rootCA.pem"
LEAST_BITS, MOST_BITS = 2048, 8192
CLOCKS_APART = timedelta(days=1)  # that a party's clock may be behind its authority's: they begin that much earlier


def new_key() -> RSAPrivateKey:
    """Return a new private key."""
    return generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def private_pem(key: RSAPrivateKey) -> bytes:
    """Return a private key as text, not encrypted: FLARE reads it at each start."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def read_private(text: bytes, what: str) -> RSAPrivateKey:
    """Return the private key that a text holds.

    Raises: LinkError if it holds none.
    """
    try:
        key = load_pem_private_key(text, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise LinkError(f"{what} is damaged: it holds no private key") from None
    if not isinstance(key, RSAPrivateKey):
        raise LinkError(f"{what} holds another kind of key than RSA")
    return key


def signing_request(name: str, key: RSAPrivateKey) -> str:
    """Return the request for a certificate of this key; the name is for whoever looks at it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def requested_key(text: str, name: str) -> RSAPublicKey:
    """Return the public key that a signing request is of; who made it had the private key.

    Raises: LinkError if there is none that may be used.
    """
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise LinkError(f"the request of {name} holds no certificate signing request") from None
    if not valid:
        raise LinkError(f"the signing request of {name} is not signed by its own key")
    if not isinstance(key, RSAPublicKey) or not LEAST_BITS <= key.key_size <= MOST_BITS:
        raise LinkError(f"the signing request of {name} is not of an RSA key of {LEAST_BITS} to {MOST_BITS} bits")
    return key


def root_certificate(league: League, key: RSAPrivateKey) -> str:
    """Return the certificate under which all others of the federation stand."""
    identity = _flare("Identity")(league.name)
    now = datetime.now(UTC)
    made = _flare("generate_cert")(
        identity,
        identity,
        key,
        key.public_key(),
        ca=True,
        not_valid_before=now - CLOCKS_APART,
        not_valid_after=now + timedelta(days=league.valid_days),
    )
    return _text(made)


def certificate(league: League, name: str, public: RSAPublicKey, root_key: RSAPrivateKey, root: str) -> str:
    """Return a party's certificate, or that of the coordinator's operator; it begins and ends when the root's does."""
    is_server = name == COORDINATOR
    identity, above = _flare("Identity"), x509.load_pem_x509_certificate(root.encode())
    made = _flare("generate_cert")(
        identity(
            league.host if is_server else name, organisation_of(league, name), "lead" if name == OPERATOR else None
        ),
        identity(league.name),
        root_key,
        public,
        server_default_host=league.host if is_server else None,
        not_valid_before=above.not_valid_before_utc,
        not_valid_after=above.not_valid_after_utc,
    )
    return _text(made)


def certified_key(text: str, what: str) -> Any:
    """Return the public key that a certificate is of.

    Raises: LinkError if it is none.
    """
    try:
        return x509.load_pem_x509_certificate(text.encode()).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise LinkError(f"{what} holds no certificate") from None


def require_current(kit: Kit, now: datetime | None = None) -> None:
    """Check that a kit's certificates are its federation's and of its own keys, and hold now by this machine's clock.

    FLARE's client would wait for ever, and say nothing.
    Raises: LinkError.
    """
    now = now or datetime.now(UTC)
    pairs = [(kit.startup, "server" if kit.role == "coordinator" else "client")]
    if kit.role == "coordinator":
        pairs.append((kit.operator / STARTUP, "client"))
    for folder, stem in pairs:
        path = folder / f"{stem}.crt"
        try:
            found, root = (x509.load_pem_x509_certificate(_read(folder / name)) for name in (path.name, ROOT))
        except ValueError:
            raise LinkError(f"{path} or {ROOT} beside it is damaged: it holds no certificate") from None
        try:
            found.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            raise LinkError(f"{path} is a certificate of another federation than {ROOT} beside it") from None
        if found.public_key() != read_private(_read(folder / f"{stem}.key"), f"{folder / stem}.key").public_key():
            raise LinkError(f"{path} is a certificate of another key than {stem}.key beside it")
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        if not begins <= now <= ends:
            raise LinkError(
                f"{path} holds from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, and this machine's "
                f"clock says {now:%Y-%m-%d %H:%M}; set the clock right, or, if it is, found the federation anew"
            )


def organisation_of(league: League, name: str) -> str:
    """Return the organisation that a party belongs to, in the letters that FLARE allows."""
    role = "coordinator" if name == OPERATOR else league.role_of(name)
    return name.replace("-", "_") if role == "participant" else f"{role}s" if role == "researcher" else role


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LinkError(f"{path} cannot be read: {error.strerror}") from error


def _flare(name: str) -> Any:
    return getattr(flare_module("nvflare.lighter.utils"), name)


def _text(made: Any) -> str:
    return str(made.public_bytes(Encoding.PEM).decode())
