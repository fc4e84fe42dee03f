"""Who signs what a run does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from foedus.config.sections.section import Section, Word, kinds


class Unsigned(Section):
    """Nobody signs anything."""

    kind: Literal["none"] = "none"


class Ed25519(Section):
    """Every participant signs its updates, and all sign what the run came to; `foedus verify` checks it later."""

    kind: Literal["ed25519"] = "ed25519"
    keys: Word = "keys"
    """The folder of the private keys of all participants and of the coordinator, as `foedus keys` makes it."""


Signatures = Annotated[
    Unsigned | Ed25519,
    Field(discriminator="kind", description="Whether updates and results are signed, so that they can be checked."),
    kinds("none"),
]
