"""The last statement of a run: what everybody signs when it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from foedus.core.errors import SignatureError
from foedus.federation.run_folder import Record, RunFolder
from foedus.privacy.signing.digests import folder_digest
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.log import Log
from foedus.privacy.signing.pins import write_whole
from foedus.privacy.signing.signed_engine import plain
from foedus.privacy.signing.signing_side import SignedWay
from foedus.privacy.signing.statements import (
    COORDINATOR,
    Attestation,
    Counted,
    Name,
    RoundResult,
    RunBegun,
    read,
    signature_of,
    written,
)

ATTESTATION, LOG = "attestation.json", "log.jsonl"


class SignedAttestation(BaseModel):
    """An attestation and everybody's signatures, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    attestation: Attestation
    signatures: dict[Name, str]


@dataclass(frozen=True)
class PrivacyFigures:
    """What the run's own files say of its privacy; None where they say nothing.

    guarantee: of summary.json. ledger: of the last round's record.
    """

    guarantee: Any = None
    ledger: Any = None

    @classmethod
    def of(cls, summary: Mapping[str, Any], records: Sequence[Record]) -> PrivacyFigures:
        """Return the figures of a run whose rounds are over."""
        spent = [record["privacy"] for record in records if record.get("privacy") is not None]
        return cls(plain(summary.get("privacy")), plain(spent[-1]) if spent else None)


def attest(
    log: Log, folder: RunFolder, figures: PrivacyFigures, coordinator: Identity, way: SignedWay
) -> SignedAttestation:
    """Return the attestation of a run whose model is written, signed by the coordinator and every participant.

    Raises: SignatureError if the log does not hold a run with a result, or a participant does not sign.
    """
    begun, last = log.entries[0].statement, log.entries[-1].statement
    if not (isinstance(begun, RunBegun) and isinstance(last, RoundResult)):
        raise SignatureError(f"{log.path} does not hold a whole run, so there is nothing to attest")
    attestation = Attestation(
        run=begun.run,
        settings=begun.settings,
        inputs=begun.inputs,
        rounds=last.round,
        counted=counted_by_round([e.statement for e in log.entries if isinstance(e.statement, RoundResult)]),
        params=last.params,
        model=model_digest(folder),
        figures=figures_digest(folder),
        guarantee=figures.guarantee,
        ledger=figures.ledger,
        size=len(log),
        root=log.tree.root().hex(),
    )
    signatures = {COORDINATOR: signature_of(attestation, coordinator), **way.attest(attestation)}
    if missing := sorted(begun.roster.keys() - signatures.keys()):
        raise SignatureError(f"{', '.join(missing)} did not sign what the run came to; ask again when they are there")
    return SignedAttestation(attestation=attestation, signatures=signatures)


def counted_by_round(results: Sequence[RoundResult]) -> list[Counted]:
    """Return who is in the sum of every round that stood, rounds of the same participants together."""
    rounds: dict[tuple[str, ...], list[int]] = {}
    for result in results:
        if result.stood:
            rounds.setdefault(tuple(result.counted), []).append(result.round)
    return [Counted(rounds=numbers, participants=list(names)) for names, numbers in rounds.items()]


def model_digest(folder: RunFolder) -> str:
    """Return the digest of all files in the run's model folder: weights, configuration, tokenizer, model card.

    Raises: SignatureError if there are none, or one cannot be read.
    """
    files = [path for path in folder.model.rglob("*") if path.is_file()]
    if not files:
        raise SignatureError(f"{folder.model} holds no files, so there is no model to attest")
    return folder_digest(files, folder.model).hex()


def figures_digest(folder: RunFolder) -> str:
    """Return the digest of all that the run's records and its summary say.

    Raises: SignatureError if one cannot be read.
    """
    return folder_digest([folder.rounds, folder.summary], folder.path).hex()


def save_attestation(folder: Path, signed: SignedAttestation) -> Path:
    """Write the attestation into a run folder and return its file."""
    path = folder / ATTESTATION
    write_whole(path, written(signed) + b"\n")
    return path


def load_attestation(folder: Path) -> SignedAttestation:
    """Return a run folder's attestation; no signature is checked.

    Raises: SignatureError if it is missing, or not written as attestations are.
    """
    path = folder / ATTESTATION
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SignatureError(
            f"{path} cannot be read ({error.strerror}): the run is not over, or it was not signed (signatures.kind)"
        ) from error
    if not content.endswith(b"\n"):
        raise SignatureError(f"{path} is cut short")
    return read(SignedAttestation, content[:-1], str(path))
