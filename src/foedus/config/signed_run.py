"""From `signatures` in a configuration to a federation whose rounds are signed and logged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.core.errors import ConfigError, SignatureError
from foedus.federation.checkpoints import checkpoints
from foedus.federation.messages import ParticipantId
from foedus.federation.round import Federation
from foedus.federation.run_folder import RunFolder
from foedus.privacy.signing.attestation import LOG, PrivacyFigures, attest, save_attestation
from foedus.privacy.signing.digests import file_digest
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.key_files import is_encrypted, load_private, private_path
from foedus.privacy.signing.log import Log
from foedus.privacy.signing.pins import load_pins, require
from foedus.privacy.signing.signed_engine import COORDINATOR, SignedEngine, SigningParticipants
from foedus.privacy.signing.statements import RunBegun, sign

PINS = "pins.json"
PASSPHRASE = "FOEDUS_KEY_PASSPHRASE"  # noqa: S105 - the environment variable's name


@dataclass(frozen=True)
class SignedRun:
    """A run that is signed: its federation, its log, and who signs."""

    federation: Federation
    log: Log
    signers: Mapping[ParticipantId, Identity]
    folder: RunFolder

    def finish(self, summary: Mapping[str, Any]) -> Path:
        """Let everybody sign what the run came to, and return the file. The model must be written."""
        figures = PrivacyFigures.of(summary, self.folder.records())
        return save_attestation(self.folder.path, attest(self.log, self.folder, figures, self.signers))


def begin_signed_run(
    config: sections.RunConfig, federation: Federation, folder: RunFolder, inputs: str
) -> SignedRun | None:
    """Return the run with its rounds signed and logged; None if the configuration asks for no signatures.

    inputs: digest of settings, rows and base weights.
    Raises: ConfigError if it cannot be signed as asked; SignatureError if a key is missing or cannot be used, or
        the log is not this run's.
    """
    if not isinstance(config.signatures, sections.Ed25519):
        return None
    if federation.plan.hide_cohort:
        raise ConfigError(
            "signatures: ed25519 logs whose updates are in each round, and the privacy of participants rests on nobody "
            "seeing that; use privacy of records, or no signatures"
        )
    population = federation.engine.population()
    signers = load_signers(config.locate(config.signatures.keys), population)
    coordinator = signers[COORDINATOR]
    log = _opened_log(folder, signers, inputs)
    begun = log.entries[0].statement
    assert isinstance(begun, RunBegun), "an opened log begins with its run"
    participants = {name: signers[name] for name in population}
    way = SigningParticipants(federation.engine, begun.run, coordinator.public, participants)
    roster = {name: identity.public for name, identity in participants.items()}
    engine = SignedEngine(federation.engine, way, run=begun.run, coordinator=coordinator, roster=roster, log=log)
    return SignedRun(replace(federation, engine=engine, journal=engine), log, signers, folder)


def load_signers(keys: Path, population: Sequence[ParticipantId]) -> Mapping[ParticipantId, Identity]:
    """Return everybody's identity from a folder of private keys: the participants' and the coordinator's.

    Raises: ConfigError if a participant is called like the coordinator, or keys are missing; SignatureError if one
        cannot be used, or is not the one that is pinned.
    """
    if COORDINATOR in population:
        raise ConfigError(
            f"signatures: a participant is called {COORDINATOR}, which is who signs results; name it otherwise"
        )
    names = [COORDINATOR, *population]
    if missing := [name for name in names if not private_path(keys, name).is_file()]:
        shown = " ".join(f"'{name}'" if " " in name else name for name in missing)
        raise ConfigError(f"signatures.keys: {keys} lacks keys; make them: foedus keys new {shown} --folder {keys}")
    pins = load_pins(keys / PINS)
    found = {}
    for name in names:
        path = private_path(keys, name)
        found[name] = load_private(path, os.environ.get(PASSPHRASE) if is_encrypted(path) else None)
        require(pins, name, found[name].public)
    return found


def _opened_log(folder: RunFolder, signers: Mapping[ParticipantId, Identity], inputs: str) -> Log:
    """Return the log to go on with, or a new one that begins with the statement of the run."""
    path = folder.path / LOG
    coordinator = signers[COORDINATOR]
    roster = {name: identity.public.hex() for name, identity in signers.items() if name != COORDINATOR}
    if checkpoints(folder.checkpoints):
        log = Log(path)
        begun = log.entries[0].statement if log.entries else None
        if not isinstance(begun, RunBegun) or (begun.roster, begun.coordinator) != (roster, coordinator.public.hex()):
            raise SignatureError(
                f"{path} was begun with other keys, or is missing; put it and the keys back as they were, or start the "
                "run anew with --overwrite"
            )
        log.entries[0].check(coordinator.public)
        return log
    path.unlink(missing_ok=True)
    log = Log(path)
    begun = RunBegun(
        run=os.urandom(16).hex(),
        settings=file_digest(folder.config).hex(),
        inputs=inputs,
        coordinator=coordinator.public.hex(),
        roster=roster,
    )
    log.append(sign(begun, coordinator, COORDINATOR))
    return log
