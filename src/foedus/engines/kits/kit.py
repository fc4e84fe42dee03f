"""A kit: the folder that one party of a federation starts from, and nobody else has.

KIT/kit.json     whose it is, of which federation, and where the coordinator is reached
KIT/keys/        its identity key, and the pinned keys of all others
KIT/startup/     its certificate and key for mTLS, and where NVIDIA FLARE connects to
KIT/local/       what NVIDIA FLARE may do here: classes by name, no uploaded code, nobody else's commands
                 (of a researcher's kit, startup/ holds certificate and key alone, and there is no local/)
KIT/operator/    of the coordinator alone: the user by which its own process tells NVIDIA FLARE's server what to do
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foedus.core.errors import LinkError
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.key_files import load_private, private_path
from foedus.privacy.signing.pins import Pins, load_pins, require

KIT, KEYS, PINS, STARTUP, LOCAL = "kit.json", "keys", "pins.json", "startup", "local"
OPERATOR_FOLDER = "operator"
COORDINATOR, OPERATOR = "coordinator", "operator@coordinator.example"  # FLARE wants users to look like mail addresses
PARTICIPANT_FILE = "participant.yaml"
MAX_BYTES = 1 << 20

Role = Literal["coordinator", "participant", "researcher"]
PemText = Annotated[str, Field(min_length=1, max_length=1 << 16)]
KeyText = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NameText = Annotated[str, Field(min_length=1, max_length=200)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class League(_Strict):
    """What all parties know of a federation: who belongs to it, and where its coordinator is reached.

    researchers_port: where researchers submit runs; None if there are none.
    """

    name: NameText
    host: NameText
    port: PortNumber
    admin_port: PortNumber
    transport: Literal["tcp", "grpc"]
    organisations: list[NameText]
    researchers: list[NameText]
    researchers_port: PortNumber | None = None
    valid_days: Annotated[int, Field(ge=1, le=3650)]

    def role_of(self, name: str) -> Role:
        """Return what a party does.

        Raises: LinkError if it does not belong to the federation.
        """
        if name == COORDINATOR:
            return "coordinator"
        if name in self.organisations:
            return "participant"
        if name in self.researchers:
            return "researcher"
        raise LinkError(f"{name} does not belong to the federation {self.name}; {', '.join(self.parties())} do")

    def parties(self) -> Sequence[str]:
        """Return the names of all who have a kit."""
        return (COORDINATOR, *self.organisations, *self.researchers)


class KitFile(_Strict):
    """What kit.json holds. authority: the public key that vouches for everybody's."""

    format: Literal["foedus kit 1"] = "foedus kit 1"
    league: League
    authority: KeyText
    name: NameText
    role: Role


@dataclass(frozen=True)
class Kit:
    """An opened kit."""

    folder: Path
    league: League
    name: str
    role: Role

    @property
    def keys(self) -> Path:
        """The folder of its identity key and of everybody's pinned ones."""
        return self.folder / KEYS

    @property
    def startup(self) -> Path:
        """The folder that NVIDIA FLARE starts from."""
        return self.folder / STARTUP

    @property
    def operator(self) -> Path:
        """The folder of the user by which a coordinator's process tells FLARE's server what to do."""
        return self.folder / OPERATOR_FOLDER

    @property
    def own_user(self) -> str:
        """The name under which NVIDIA FLARE knows this party: in its certificate."""
        return self.league.host if self.role == "coordinator" else self.name

    def pins(self) -> Pins:
        """Return everybody's pinned keys. Raises: SignatureError."""
        return load_pins(self.keys / PINS)

    def identity(self, passphrase: str | None = None) -> Identity:
        """Return this party's own key, which must be the one that is pinned. Raises: SignatureError."""
        identity = load_private(private_path(self.keys, self.name), passphrase)
        require(self.pins(), self.name, identity.public)
        return identity


def open_kit(folder: Path, role: Role | None = None) -> Kit:
    """Return the kit in a folder.

    role: the one that is needed.
    Raises: LinkError if there is no kit, it is damaged, or it is one for another role.
    """
    path = folder / KIT
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LinkError(
            f"{folder} is no kit: {KIT} cannot be read ({error.strerror}); foedus provision makes kits"
        ) from error
    try:
        found = KitFile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise LinkError(f"{path} is damaged, or of another version: {place}: {first['msg'].lower()}") from None
    if role is not None and found.role != role:
        raise LinkError(f"{folder} is the kit of the {found.role} {found.name}, and a {role}'s kit is needed here")
    return Kit(folder.resolve(), found.league, found.name, found.role)


def open_desk_kit(folder: Path) -> Kit:
    """Return the kit of one who may submit runs: the coordinator's, on its machine, or a researcher's.

    Raises: LinkError if it is another's, or none.
    """
    kit = open_kit(folder)
    if kit.role == "participant":
        raise LinkError(
            f"{folder} is the kit of the participant {kit.name}, and a coordinator's kit is needed here, or a "
            "researcher's"
        )
    return kit
