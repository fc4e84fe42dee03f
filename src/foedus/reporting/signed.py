"""What a run's report says of signatures."""

from __future__ import annotations

from pathlib import Path

from foedus.core.errors import SignatureError
from foedus.privacy.signing.attestation import ATTESTATION, load_attestation

ON_ONE_MACHINE = "All keys lay on one machine, so whoever ran it could have signed for everybody."
BETWEEN_ORGANISATIONS = "Each organisation signed at home, with a key that nobody else has."


def signed_by(folder: Path, *, between_organisations: bool) -> str:
    """Return who signed what in a run, in a sentence; nothing is checked here."""
    if not (folder / ATTESTATION).exists():
        return "Nobody signed this run: its files could have been changed since."
    try:
        signed = load_attestation(folder)
    except SignatureError as error:
        return f"The run's signatures cannot be read: {error}."
    participants = len(signed.signatures) - 1
    whose = BETWEEN_ORGANISATIONS if between_organisations else ON_ONE_MACHINE
    return (
        f"Each of {participants} participants signed what it sent, and with the coordinator what the run came to: "
        f"configuration, model, figures and a log of {signed.attestation.size} entries. This page is not signed; "
        f"foedus verify checks the files beside it. {whose}"
    )
