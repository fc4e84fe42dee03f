"""`federation.yaml`: who belongs to a federation, and where its coordinator is reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

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
ResearcherName = Annotated[
    str,
    matching(
        rf"(?=.{{1,64}}$)({_NAME}|{_MAIL})",
        "be a name that begins with a letter or digit and holds only these and _ -, or a mail address, 64 characters "
        "at most",
    ),
]


class Coordinator(Section):
    """The machine that participants connect to."""

    host: Host
    """Its name or IPv4 address, as participants reach it. It stands in the coordinator's certificate."""
    port: Port = 8002
    """The port that it listens on. Participants connect to it; nobody connects to them."""
    admin_port: Port | None = None
    """The port on which the coordinator's own process tells NVIDIA FLARE's server what to do. Left out: the same."""
    researchers_port: Port | None = None
    """The port on which researchers submit runs and fetch results. Left out: port + 1. Unused without researchers."""

    @property
    def port_of_submissions(self) -> int:
        """The port on which FLARE's server is told what to do."""
        return self.admin_port or self.port

    @property
    def port_of_researchers(self) -> int:
        """The port that researchers connect to."""
        return self.researchers_port or self.port + 1


class Federation(Section):
    """A federation, as `federation.yaml` describes it."""

    name: FederationName
    """What the federation is called; it stands in its root certificate."""
    coordinator: Coordinator
    """The machine that participants connect to."""
    organisations: Annotated[tuple[OrganisationName, ...], Field(min_length=2), AfterValidator(_organisations)]
    """The participants' names, as they stand in runs and reports."""
    researchers: tuple[ResearcherName, ...] = ()
    """Who may submit, stop and fetch runs from a machine of their own, with a kit of their own: names, or mail
    addresses. On the coordinator's machine nobody needs to be one."""
    valid_days: Annotated[Whole, Field(ge=1, le=3650)] = 365
    """Days until certificates end, and kits must be made anew."""
    transport: Literal["tcp", "grpc"] = "tcp"
    """How messages travel, inside mTLS in both cases. grpc: passes proxies that know HTTP/2."""

    @model_validator(mode="after")
    def _tells_all_apart(self) -> Federation:
        """A name is one party's, and a port one listener's."""
        names = [*self.organisations, COORDINATOR, self.coordinator.host]
        for name in self.researchers:
            if name.lower() in {other.lower() for other in names}:
                raise ValueError(f"researchers holds '{name}', which stands for somebody else already, or twice")
            names.append(name)
        port = self.coordinator.port_of_researchers
        if self.researchers and (port > 65535 or port in {self.coordinator.port, self.coordinator.port_of_submissions}):
            raise ValueError(f"coordinator.researchers_port is {port}; give one that is free, 65535 at most")
        return self
