"""Founding a federation: all kits at once, or each party's keys at its own place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foedus.config.loading import load_section
from foedus.config.sections import Federation
from foedus.core.errors import ConfigError
from foedus.engines.kits.founding import Accepted, Paperwork, accept, ask, assemble, found, require_new
from foedus.engines.kits.kit import OPERATOR, Kit, League, open_kit
from foedus.engines.kits.papers import Invitation, Request, fingerprint, read_paper

AUTHORITY = "authority"


@dataclass(frozen=True)
class Provisioned:
    """What was made. kits: by party. fingerprints: of their keys, and of the authority's."""

    folder: Path
    kits: Mapping[str, Kit]
    fingerprints: Mapping[str, str]


def provision(federation: Path, folder: Path) -> Provisioned:
    """Make every party's kit in a new folder, in one place: whoever does so has had everybody's keys.

    Raises: ConfigError for what is wrong in the file; LinkError if the folder is taken; MissingExtra.
    """
    league = league_of(federation)
    require_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kits-") as place:
        draft = Path(place) / "kits"
        fingerprints = _make_all(league, draft)
        if folder.exists():
            folder.rmdir()  # it is empty
        draft.rename(folder)
    return Provisioned(folder, {name: open_kit(folder / name) for name in league.parties()}, fingerprints)


def _make_all(league: League, folder: Path) -> Mapping[str, str]:
    """Make the authority and every kit in a folder, as parties would at theirs, and return the fingerprints."""
    authority = found(league, folder / AUTHORITY)
    fingerprints, accepted = {AUTHORITY: authority.fingerprint}, Accepted((), {})
    homes = {name: folder / f".{name}" for name in league.parties()}
    for name, home in homes.items():
        asked = ask(authority.file, name, home, authority.fingerprint)
        fingerprints[name] = asked.fingerprint
        accepted = accept(folder / AUTHORITY, asked.file, asked.fingerprint)
    for name, grant in accepted.grants.items():
        assemble(homes[name], grant, folder / name)
        shutil.rmtree(homes[name])  # its keys lie in the kit now
    return fingerprints


def found_federation(federation: Path, folder: Path) -> Paperwork:
    """Make the authority that vouches for everybody's keys, and return the invitation to hand out.

    Raises: as `provision`.
    """
    return found(league_of(federation), folder)


def request_place(invitation: Path, name: str, home: Path, authority: str) -> Paperwork:
    """Make a party's keys at its own place, and return the request for the authority.

    Raises: as `ask` in engines.kits.founding.
    """
    return ask(invitation, name, home, authority)


def sign_request(authority: Path, request: Path, checked: str) -> Accepted:
    """Take a request whose fingerprint was compared; the last one brings everybody's grant.

    Raises: as `accept` in engines.kits.founding.
    """
    return accept(authority, request, checked)


def make_kit(home: Path, grant: Path, folder: Path) -> Kit:
    """Make a party's kit from its keys and its grant.

    Raises: as `assemble` in engines.kits.founding.
    """
    return assemble(home, grant, folder)


def authority_in(invitation: Path) -> str:
    """Return the fingerprint of the authority that an invitation names. Raises: LinkError, SignatureError."""
    return fingerprint(read_paper(invitation, Invitation).authority)


def asker_in(request: Path) -> tuple[str, str]:
    """Return who asks for a place, and the fingerprint of its key. Raises: LinkError, SignatureError."""
    asked = read_paper(request, Request)
    return asked.name, fingerprint(asked.identity)


def league_of(federation: Path) -> League:
    """Return the federation that a file describes.

    Raises: ConfigError.
    """
    given = load_section(federation, Federation)
    if OPERATOR in given.researchers:
        raise ConfigError(f"{federation}: researchers: holds {OPERATOR}, which is the coordinator's own; name another")
    return League(
        name=given.name,
        host=given.coordinator.host,
        port=given.coordinator.port,
        admin_port=given.coordinator.port_of_submissions,
        transport=given.transport,
        organisations=list(given.organisations),
        researchers=list(given.researchers),
        researchers_port=given.coordinator.port_of_researchers if given.researchers else None,
        valid_days=given.valid_days,
    )
