"""From `signatures` in a configuration to a federation whose rounds are signed and logged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foedus.config import sections
from foedus.config.claims import check_claim
from foedus.config.secure_problems import hides_cohorts
from foedus.core.errors import ConfigError, SignatureError
from foedus.engines.remote import RemoteEngine
from foedus.engines.signed_way import RemoteSigners
from foedus.federation.checkpoints import checkpoints
from foedus.federation.messages import ParticipantId
from foedus.federation.round import Federation, Journals
from foedus.federation.run_folder import RunFolder
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.signing.attestation import (
    ATTESTATION,
    LOG,
    PrivacyFigures,
    attest,
    figures_digest,
    load_attestation,
    model_digest,
    save_attestation,
)
from foedus.privacy.signing.digests import file_digest
from foedus.privacy.signing.envelopes import OpenLog
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.key_files import private_path
from foedus.privacy.signing.key_folder import own_identity
from foedus.privacy.signing.log import Log
from foedus.privacy.signing.receipts import receipt_file
from foedus.privacy.signing.round_entries import check_entries
from foedus.privacy.signing.signed_engine import SignedEngine
from foedus.privacy.signing.signing_side import SignedWay, SigningParticipants, SigningSide
from foedus.privacy.signing.statements import COORDINATOR, RunBegun, sign

PASSPHRASE = "FOEDUS_KEY_PASSPHRASE"  # noqa: S105 - the environment variable's name


@dataclass(frozen=True)
class SignedRun:
    """A run that is signed: its federation, its log, and who signs.

    way: to the participants, each of which has its own key.
    """

    federation: Federation
    engine: SignedEngine
    coordinator: Identity
    way: SignedWay
    folder: RunFolder

    def is_attested(self) -> bool:
        """Return whether everybody has signed what stands in the run's folder.

        Raises: SignatureError if the attestation cannot be read.
        """
        if not (self.folder.path / ATTESTATION).exists():
            return False
        attested = load_attestation(self.folder.path).attestation
        there = (figures_digest(self.folder), model_digest(self.folder), len(self.engine.log))
        return there == (attested.figures, attested.model, attested.size)

    def check_claim(self, config: sections.RunConfig, summary: Mapping[str, Any]) -> None:
        """Check, as anybody can afterwards, that the privacy which all are to sign is what their bills come to.

        Raises: SignatureError if it is not, or a bill does not fit the log.
        """
        check_claim(config, summary, check_entries(self.engine.log.entries, self.engine.log.tree))

    def finish(self, summary: Mapping[str, Any]) -> Path:
        """Give receipts that are due, let everybody sign what the run came to, and return the file.

        The model must be written.
        Raises: SignatureError if somebody does not sign.
        """
        self.engine.keep()
        figures = PrivacyFigures.of(summary, self.folder.records())
        signed = attest(self.engine.log, self.folder, figures, self.coordinator, self.way)
        return save_attestation(self.folder.path, signed)


@dataclass(frozen=True)
class RunNames:
    """By what a run is known.

    id: 32 hexadecimal digits drawn at random. short: what participants' files of it are called.
    participants: the folder of what participants keep for themselves.
    """

    id: str
    short: str
    participants: Path


def begin_signed_run(
    config: sections.RunConfig,
    federation: Federation,
    folder: RunFolder,
    *,
    inputs: str,
    signers: Mapping[ParticipantId, Identity] | None,
    names: RunNames,
) -> SignedRun | None:
    """Return the run with its rounds signed and logged; None if nobody signs.

    inputs: digest of settings, rows and base weights. signers: of load_signers: here all keys lie on one machine.
    Raises: SignatureError if the log is not this run's.
    """
    if signers is None:
        return None
    coordinator = signers[COORDINATOR]
    roster = {name: identity.public for name, identity in signers.items() if name != COORDINATOR}
    log = _opened_log(config, folder, coordinator, keys=roster, inputs=inputs, run=names.id)
    sides = {
        name: SigningSide(
            name,
            identity,
            coordinator.public,
            log.entries[0],
            receipt_file(names.participants, name, names.short),
        )
        for name, identity in signers.items()
        if name != COORDINATOR
    }
    return _signed(federation, SigningParticipants(federation.engine, sides), coordinator, log, folder)


def begin_remote_signed_run(
    config: sections.RunConfig,
    federation: Federation,
    folder: RunFolder,
    remote: RemoteEngine,
    *,
    coordinator: Identity,
    roster: Identities,
    inputs: str,
) -> SignedRun:
    """Return the run with its rounds signed by organisations that keep their keys to themselves, and logged.

    remote: the federation's engine. roster: the pinned keys of all who take part.
    Raises: SignatureError if the log is not this run's.
    """
    log = _opened_log(config, folder, coordinator, keys=roster, inputs=inputs, run=remote.run)
    remote.introduce(OpenLog(log.entries[0]))
    return _signed(federation, RemoteSigners(remote), coordinator, log, folder)


def _signed(federation: Federation, way: SignedWay, coordinator: Identity, log: Log, folder: RunFolder) -> SignedRun:
    engine = SignedEngine(federation.engine, way, coordinator=coordinator, log=log)
    if not checkpoints(folder.checkpoints):
        engine.start_over()
    journal = engine if federation.journal is None else Journals([federation.journal, engine])
    return SignedRun(replace(federation, engine=engine, journal=journal), engine, coordinator, way, folder)


def load_signers(
    config: sections.RunConfig, population: Sequence[ParticipantId]
) -> Mapping[ParticipantId, Identity] | None:
    """Return everybody's identity, the participants' and the coordinator's; None if nobody signs.

    Raises: ConfigError if a participant is called like the coordinator, or keys are missing; SignatureError if one
        cannot be used, or is not the one that is pinned.
    """
    if not isinstance(config.signatures, sections.Ed25519):
        return None
    keys = config.locate(config.signatures.keys)
    if COORDINATOR in population:
        raise ConfigError(
            f"signatures: a participant is called {COORDINATOR}, which is who signs results; name it otherwise"
        )
    names = [COORDINATOR, *population]
    if missing := [name for name in names if not private_path(keys, name).is_file()]:
        shown = " ".join(f"'{name}'" if " " in name else name for name in missing)
        raise ConfigError(f"signatures.keys: {keys} lacks keys; make them: foedus keys new {shown} --folder {keys}")
    return {name: own_identity(keys, name, os.environ.get(PASSPHRASE)) for name in names}


def shown_of_rounds(config: sections.RunConfig) -> str:
    """Return what the log tells of a round: each update, whose are in its sum, or its result alone."""
    if hides_cohorts(config.privacy):
        return "sealed"
    return "plain" if isinstance(config.secure_sum, sections.PlainSum) else "masked"


def _opened_log(
    config: sections.RunConfig, folder: RunFolder, coordinator: Identity, *, keys: Identities, inputs: str, run: str
) -> Log:
    """Return the log to go on with, or a new one that begins with the statement of the run."""
    path = folder.path / LOG
    roster = {name: key.hex() for name, key in keys.items()}
    if checkpoints(folder.checkpoints):
        log = Log(path)
        begun = log.entries[0].statement if log.entries else None
        if not isinstance(begun, RunBegun) or (begun.roster, begun.coordinator) != (roster, coordinator.public.hex()):
            raise SignatureError(
                f"{path} was begun with other keys, or is missing; put it and the keys back as they were, or start the "
                "run anew with --overwrite"
            )
        if begun.run != run:
            raise SignatureError(
                f"{path} is of run {begun.run}, and {folder.identity} says {run}; put back what was changed, or start "
                "the run anew with --overwrite"
            )
        log.entries[0].check(coordinator.public)
        return log
    path.unlink(missing_ok=True)
    log = Log(path)
    begun = RunBegun.model_validate(
        {
            "run": run,
            "rounds": shown_of_rounds(config),
            "settings": file_digest(folder.config).hex(),
            "inputs": inputs,
            "coordinator": coordinator.public.hex(),
            "roster": roster,
        }
    )
    log.append(sign(begun, coordinator, COORDINATOR))
    return log
