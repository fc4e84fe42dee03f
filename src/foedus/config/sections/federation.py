"""`federation.yaml`: who belongs to a federation, and where its coordinator is reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from foedus.config.sections.section import Section, Whole, matching

COORDINATOR = "coordinator"  # what the coordinator signs as; no organisation may be called so

_HOST = r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
_MAIL = r"[A-Za-z0-9._%+-]{1,60}@[A-Za-z0-9-]{1,60}(\.[A-Za-z0-9-]{1,60})*\.[A-Za-z]{2,20}"


def _organisations(names: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in names:
        if name.lower() == COORDINATOR:
            raise ValueError(
                f"holds '{name}', which is what the coordinator signs as; name that organisation otherwise"
            )
        if name.lower() in seen:
            raise ValueError(f"holds '{name}' twice; some file systems do not tell capitals apart")
        seen.add(name.lower())
    return names


Port = Annotated[Whole, Field(ge=1, le=65535)]
Host = Annotated[str, matching(_HOST, "be a host's name such as fed.example.org, or an IPv4 address")]
FederationName = Annotated[
    str, matching(_NAME, "begin with a letter or digit, and hold only these and _ -, 63 characters at most")
]
OrganisationName = Annotated[
    str, matching(_NAME, "begin with a letter or digit, and hold only these and _ -, 63 characters at most")
]
Mail = Annotated[str, matching(_MAIL, "have the form of a mail address, such as anna@north.example.org")]


class Coordinator(Section):
    """The machine that participants connect to."""

    host: Host
    """Its name or IPv4 address, as participants reach it. It stands in the coordinator's certificate."""
    port: Port = 8002
    """The port that it listens on. Participants connect to it; nobody connects to them."""
    admin_port: Port | None = None
    """The port on which runs are submitted. Left out: the same."""

    @property
    def port_of_submissions(self) -> int:
        """The port on which runs are submitted."""
        return self.admin_port or self.port


class Federation(Section):
    """A federation, as `federation.yaml` describes it."""

    name: FederationName
    """What the federation is called; it stands in its root certificate."""
    coordinator: Coordinator
    """The machine that participants connect to."""
    organisations: Annotated[tuple[OrganisationName, ...], Field(min_length=2), AfterValidator(_organisations)]
    """The participants' names, as they stand in runs and reports."""
    researchers: tuple[Mail, ...] = ()
    """Who may log in to NVIDIA FLARE's server with FLARE's own tools: names in the form of mail addresses. Runs are
    submitted on the coordinator's machine, and need none."""
    valid_days: Annotated[Whole, Field(ge=1, le=3650)] = 365
    """Days until certificates end, and kits must be made anew."""
    transport: Literal["tcp", "grpc"] = "tcp"
    """How messages travel, inside mTLS in both cases. grpc: passes proxies that know HTTP/2."""
