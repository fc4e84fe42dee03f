"""How a federation is founded: an authority vouches for everybody's public keys, and each party makes its own.

1. `found`: the authority makes its keys and an invitation.
2. `ask`, at each party: it makes its keys at home, and a request with the public ones.
3. `accept`, at the authority: requests whose fingerprints were compared are taken; with the last one, grants are made.
4. `assemble`, at each party: its keys at home and its grant become its kit.

Private keys stay in the folder that they were made in. The authority's keys are needed to found, and never by a run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from foedus.core.errors import LinkError, SignatureError
from foedus.engines.kits import certificates
from foedus.engines.kits.kit import (
    COORDINATOR,
    KEYS,
    KIT,
    OPERATOR,
    OPERATOR_FOLDER,
    PARTICIPANT_FILE,
    PINS,
    STARTUP,
    Kit,
    KitFile,
    League,
    open_kit,
)
from foedus.engines.kits.papers import Grant, Invitation, Request, fingerprint, read_paper, write_paper
from foedus.engines.kits.startup import write_startup
from foedus.engines.kits.texts import participant_starter, readme, start_script
from foedus.privacy.signing.identity import Identity, PublicKey
from foedus.privacy.signing.key_files import load_private, private_path, public_path, save_private, write_public
from foedus.privacy.signing.pins import Pins, pin, save_pins, write_whole

AUTHORITY, INVITATION, REQUESTS, GRANTS = "authority", "federation.invitation", "requests", "grants"
ROOT_KEY, TLS_KEY, OPERATOR_KEY = "root.key", "tls.key", "operator.key"


@dataclass(frozen=True)
class Paperwork:
    """A paper to hand on, and the fingerprint by which its receiver knows that it is genuine."""

    file: Path
    fingerprint: str


@dataclass(frozen=True)
class Accepted:
    """Who is still to ask, and the grants, once nobody is."""

    missing: Sequence[str]
    grants: Mapping[str, Path]


def found(league: League, folder: Path) -> Paperwork:
    """Make the authority of a federation in a new folder, and return the invitation to hand out.

    Raises: LinkError if the folder is taken; MissingExtra.
    """
    require_new(folder)
    root_key, identity = certificates.new_key(), Identity.create()
    root = certificates.root_certificate(league, root_key)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_secret(folder / ROOT_KEY, certificates.private_pem(root_key))
    save_private(private_path(folder, AUTHORITY), identity)
    invitation = Invitation(league=league, authority=identity.public.hex(), root=root)
    write_paper(folder / INVITATION, invitation, identity)
    return Paperwork(folder / INVITATION, identity.public.fingerprint)


def ask(invitation: Path, name: str, home: Path, authority: str) -> Paperwork:
    """Make a party's keys in a new folder, and return the request to hand to the authority.

    authority: the fingerprint that the person who founded the federation read out.
    Raises: SignatureError if the invitation is another's; LinkError if the name has no place in the federation, or
        the folder is taken.
    """
    invited = read_paper(invitation, Invitation)
    _require_fingerprint(invited.authority, authority, f"the authority in {invitation}")
    invited.league.role_of(name)
    require_new(home)
    key, identity = certificates.new_key(), Identity.create()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(invitation, home / INVITATION)
    _write_secret(home / TLS_KEY, certificates.private_pem(key))
    save_private(private_path(home / KEYS, name), identity)
    write_whole(public_path(home / KEYS, name), write_public(name, identity.public).encode())
    operator = None
    if name == COORDINATOR:
        operator = certificates.new_key()
        _write_secret(home / OPERATOR_KEY, certificates.private_pem(operator))
    request = Request(
        federation=invited.league.name,
        authority=invited.authority,
        name=name,
        identity=identity.public.hex(),
        signing_request=certificates.signing_request(name, key),
        operator_request=None if operator is None else certificates.signing_request(OPERATOR, operator),
    )
    path = home / request_name(name)
    write_paper(path, request, identity)
    return Paperwork(path, identity.public.fingerprint)


def accept(folder: Path, request: Path, checked: str) -> Accepted:
    """Take a party's request; once everybody's is there, make all grants.

    checked: the fingerprint that the party's person read out.
    Raises: SignatureError if the request is another's; LinkError if it is of another federation, or its name was
        taken by another key.
    """
    invited = read_paper(folder / INVITATION, Invitation)
    asked = read_paper(request, Request)
    _require_fingerprint(asked.identity, checked, f"{asked.name} in {request}")
    if (asked.federation, asked.authority) != (invited.league.name, invited.authority):
        raise LinkError(f"{request} asks for a place in another federation, {asked.federation}; ask again, of this one")
    invited.league.role_of(asked.name)
    _requested_keys(asked)
    place = folder / REQUESTS / request_name(asked.name)
    if place.exists() and read_paper(place, Request) != asked:
        raise LinkError(
            f"{asked.name} has asked before, with the key {fingerprint(read_paper(place, Request).identity)}; if that "
            f"one is to count no more, remove {place}"
        )
    write_whole(place, request.read_bytes())
    there = {name: folder / REQUESTS / request_name(name) for name in invited.league.parties()}
    if missing := [name for name, path in there.items() if not path.exists()]:
        return Accepted(missing, {})
    return Accepted((), _grant(folder, invited, {name: read_paper(path, Request) for name, path in there.items()}))


def assemble(home: Path, grant: Path, folder: Path) -> Kit:
    """Make a party's kit, in a new folder, from its keys at home and its grant.

    Raises: SignatureError if the grant is not the authority's; LinkError if it does not fit the keys, or the folder
        is taken.
    """
    invited, granted = read_paper(home / INVITATION, Invitation), read_paper(grant, Grant)
    if granted.authority != invited.authority:
        raise SignatureError(
            f"{grant} is signed by the key {fingerprint(granted.authority)}, and the invitation was by "
            f"{fingerprint(invited.authority)}"
        )
    identity = load_private(private_path(home / KEYS, granted.name))
    _require_fitting(invited, granted, identity, home)
    require_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kit-") as place:
        draft = Path(place) / "kit"
        _write_kit(draft, granted, identity, home)
        if folder.exists():
            folder.rmdir()  # it is empty
        draft.rename(folder)
    return open_kit(folder)


def request_name(name: str) -> str:
    """Return the file name of a party's request."""
    return f"{quote(name, safe='@')}.request"


def require_new(folder: Path) -> None:
    """Check that nothing lies in a folder.

    Raises: LinkError if something does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LinkError(
            f"{folder} is there already, and keys in it cannot be made again; name another folder, or remove it"
        )


def _grant(folder: Path, invited: Invitation, requests: Mapping[str, Request]) -> Mapping[str, Path]:
    """Write everybody's grant, and return where they lie."""
    root_key = certificates.read_private((folder / ROOT_KEY).read_bytes(), str(folder / ROOT_KEY))
    identity = load_private(private_path(folder, AUTHORITY))
    pins = {name: request.identity for name, request in requests.items()}
    if len(set(pins.values())) < len(pins):
        raise SignatureError("two parties ask with one identity key; each makes its own (foedus provision request)")
    league, grants = invited.league, {}
    for name, request in requests.items():
        public, operator = _requested_keys(request)

        def certified(whose: str, key: RSAPublicKey) -> str:
            return certificates.certificate(league, whose, key, root_key, invited.root)

        grants[name] = folder / GRANTS / f"{quote(name, safe='@')}.grant"
        granted = Grant(
            league=league,
            authority=invited.authority,
            root=invited.root,
            name=name,
            role=league.role_of(name),
            identity=request.identity,
            certificate=certified(name, public),
            operator_certificate=None if operator is None else certified(OPERATOR, operator),
            pins=pins,
        )
        write_paper(grants[name], granted, identity)
    return grants


def _requested_keys(asked: Request) -> tuple[RSAPublicKey, RSAPublicKey | None]:
    """Return the public keys to certify: the party's, and that of the coordinator's operator.

    Raises: LinkError if one cannot be used, is missing, or is asked for by somebody else.
    """
    if (asked.name == COORDINATOR) != (asked.operator_request is not None):
        raise LinkError(f"the request of {asked.name} asks for what the coordinator needs, or lacks it; ask anew")
    operator = asked.operator_request and certificates.requested_key(asked.operator_request, OPERATOR)
    return certificates.requested_key(asked.signing_request, asked.name), operator or None


def _require_fitting(invited: Invitation, granted: Grant, identity: Identity, home: Path) -> None:
    """Check that a grant is of this federation and of the keys at home.

    Raises: LinkError.
    """
    if (granted.league, granted.root) != (invited.league, invited.root):
        raise LinkError("the grant describes another federation than the invitation; ask for a place anew")
    if granted.identity != identity.public.hex() or granted.pins.get(granted.name) != granted.identity:
        raise LinkError(f"the grant is of another identity key than the one in {home}")
    _require_own(granted.certificate, home / TLS_KEY)
    if granted.name == COORDINATOR:
        _require_own(granted.operator_certificate or "", home / OPERATOR_KEY)
    if missing := [name for name in granted.league.parties() if name not in granted.pins]:
        raise LinkError(f"the grant pins no key of {', '.join(missing)}")


def _require_own(certificate: str, key: Path) -> None:
    """Check that a certificate is of the private key in a file.

    Raises: LinkError.
    """
    keys = [
        certificates.read_private(key.read_bytes(), str(key)).public_key(),
        certificates.certified_key(certificate, "the grant"),
    ]
    own, certified = (each.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for each in keys)
    if own != certified:
        raise LinkError(f"the grant's certificate is of another key than {key}")


def _write_kit(folder: Path, granted: Grant, identity: Identity, home: Path) -> None:
    folder.mkdir(mode=0o700)
    league, name, role = granted.league, granted.name, granted.role
    if role == "researcher":  # it has no part in what NVIDIA FLARE does
        (folder / STARTUP).mkdir()
    else:
        write_startup(folder, league, name, certificates.organisation_of(league, name), role)
    stem = "server" if role == "coordinator" else "client"
    _write_certificate(folder, stem, granted.certificate, granted.root, home / TLS_KEY)
    if granted.operator_certificate is not None:
        operator = folder / OPERATOR_FOLDER
        operator.mkdir(mode=0o700)
        write_startup(operator, league, OPERATOR, "coordinator", "researcher")
        _write_certificate(operator, "client", granted.operator_certificate, granted.root, home / OPERATOR_KEY)
    save_private(private_path(folder / KEYS, name), identity)
    write_whole(public_path(folder / KEYS, name), write_public(name, identity.public).encode())
    pins: Pins = {}
    for other, key in granted.pins.items():
        pins = pin(pins, other, PublicKey.from_hex(key))
    save_pins(folder / KEYS / PINS, pins)
    kit = KitFile(league=league, authority=granted.authority, name=name, role=role)
    (folder / KIT).write_text(kit.model_dump_json(indent=2) + "\n")
    fingerprints = {other: fingerprint(key) for other, key in granted.pins.items()}
    (folder / "README.md").write_text(readme(league, name, role, fingerprints))
    if role == "participant":
        (folder / PARTICIPANT_FILE).write_text(participant_starter(name))
    if role != "researcher":
        (folder / "start.sh").write_text(start_script(role))
        (folder / "start.sh").chmod(0o755)


def _write_certificate(folder: Path, stem: str, certificate: str, root: str, key: Path) -> None:
    (folder / STARTUP / f"{stem}.crt").write_text(certificate)
    (folder / STARTUP / "rootCA.pem").write_text(root)
    _write_secret(folder / STARTUP / f"{stem}.key", key.read_bytes())


def _require_fingerprint(key: str, given: str, whose: str) -> None:
    if fingerprint(key) != given.strip().lower():
        raise SignatureError(
            f"the key of {whose} has the fingerprint {fingerprint(key)}, not {given}; have its owner read it out to "
            "you, by telephone for instance"
        )


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
