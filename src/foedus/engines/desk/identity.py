"""Who is at the other end of a connection: TLS 1.3 with certificates of the federation's own root on both sides.

A certificate's common name is its party's, and its organisation tells the role: both were set by the authority.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foedus.core.errors import LinkError
from foedus.engines.kits.kit import COORDINATOR, STARTUP, Kit, League

RESEARCHERS = "researchers"  # the organisation in researchers' certificates


def desk_context(kit: Kit) -> ssl.SSLContext:
    """Return how the coordinator's desk speaks TLS: it hears nobody without a certificate of the federation.

    Raises: LinkError if the kit's certificate or key cannot be used.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, kit.folder / STARTUP, "server")


def researcher_context(kit: Kit) -> ssl.SSLContext:
    """Return how a researcher's machine speaks TLS: the other side has a certificate of the federation for its host.

    Raises: LinkError if the kit's certificate or key cannot be used.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, kit.folder / STARTUP, "client")


def require_researcher(certificate: Mapping[str, Any] | None, league: League) -> str:
    """Return the researcher that a certificate is of.

    Raises: LinkError if it is another party's, or of a researcher who is none any more.
    """
    name, organisation = _subject(certificate)
    if organisation != RESEARCHERS or name not in league.researchers:
        raise LinkError(
            f"{name or 'nobody'} is no researcher of {league.name}: only those may submit, see or stop runs"
        )
    return name


def require_coordinator(certificate: Mapping[str, Any] | None, league: League) -> None:
    """Check that a certificate is the coordinator's: others of the federation could bear its host's name.

    Raises: LinkError if it is not.
    """
    if _subject(certificate) != (league.host, COORDINATOR):
        raise LinkError(f"who answers at {league.host} is of the federation {league.name}, but not its coordinator")


def _subject(certificate: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the common name and the organisation; empty where a certificate has none, or several."""
    found: dict[str, list[str]] = {}
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            found.setdefault(key, []).append(value)
    name, organisation = (found.get(key, []) for key in ("commonName", "organizationName"))
    return (name[0] if len(name) == 1 else "", organisation[0] if len(organisation) == 1 else "")


def _context(protocol: int, startup: Path, stem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(startup / "rootCA.pem")
        context.load_cert_chain(startup / f"{stem}.crt", startup / f"{stem}.key")
    except (OSError, ssl.SSLError) as error:
        raise LinkError(f"the certificate in {startup} cannot be used: {error.strerror or error}") from error
    return context
